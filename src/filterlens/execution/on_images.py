# SPDX-License-Identifier: Apache-2.0
"""A network as a function of images alone: called as its user says, with the image chosen from what it returns."""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from filterlens.errors import FilterlensError, UsageError

Call = Callable[[Any, Tensor], Any]
Entry = int | str

_TABLES = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
_CALL = "call=lambda network, x: network(x, …) in Python, --call package.module:function on the command line"


class OnImages(nn.Module):
    """A network that takes images alone and returns one image.

    It has no parameters of its own, but those of the network under their own names, without a prefix: both share their
    tables, so what is put into one is in the other.

    Args:
        network: The network; it is not copied.
        call: Function (network, images) → output, for networks that take more than images. What it passes to the
            network is brought to the type and device of the weights.
        output: Index or name of the image in a tuple, list, dict or object that the network returns.
    """

    def __init__(self, network: nn.Module, call: Call | None = None, output: Entry | None = None) -> None:
        super().__init__()
        vars(self)["inner"] = network  # not a child, so that no name gets a prefix
        vars(self).update({table: vars(network)[table] for table in _TABLES})
        self.call, self.output, self.training = call, output, network.training

    def forward(self, images: Tensor) -> Any:
        """Map LR ``(B, C, h, w)`` to HR ``(B, C', h·scale, w·scale)``."""
        return self._chosen(images)

    def _chosen(self, images: Tensor) -> Any:
        if self.call is None:
            return entry_of(self.inner(images), self.output)
        handle = self.inner.register_forward_pre_hook(_fitted, with_kwargs=True)
        try:
            return entry_of(self.call(self.inner, images), self.output)
        finally:
            handle.remove()

    @property
    def inner(self) -> nn.Module:
        """The network itself."""
        return cast(nn.Module, vars(self)["inner"])

    def train(self, mode: bool = True) -> "OnImages":
        """Set the mode of the network."""
        self.inner.train(mode)
        self.training = mode
        return self

    def to(self, *places: Any, **named: Any) -> Any:
        """Move the network."""
        self.inner.to(*places, **named)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnImages":
        return OnImages(copy.deepcopy(self.inner, memo), self.call, self.output)


def plain(network: nn.Module) -> nn.Module:
    """Return the network itself."""
    return network.inner if isinstance(network, OnImages) else network


def checked_call(call: Any, output: Any) -> None:
    """Check an adapter function and the choice of an output.

    Raises:
        UsageError: The one cannot be called, or the other is neither a number nor a name.
    """
    if call is not None and not callable(call):
        raise UsageError(f"call={call!r} is not legal: a function (network, images) → image, {_CALL}.")
    if output is not None and (isinstance(output, bool) or not isinstance(output, int | str)):
        raise UsageError(f"output={output!r} is not legal: the index or name of the image, output=0 or output='image'.")


def refuse_more_inputs(network: nn.Module) -> None:
    """Check that a network can be called with images alone.

    Raises:
        FilterlensError: It needs more inputs; the message quotes them.
    """
    try:
        signature = inspect.signature(network.forward)
    except (TypeError, ValueError):  # no code of Python's
        return
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    wanted = signature.parameters.values()
    needed = [each for each in wanted if each.default is each.empty and each.kind not in several]
    if len(needed) > 1 and not network._forward_pre_hooks:
        text = str(signature.replace(return_annotation=inspect.Signature.empty))
        raise FilterlensError(
            f"The network takes {len(needed)} inputs, forward{text[:120]}, not images alone. Say how to call it: "
            f"{_CALL}."
        )


def entry_of(result: Any, output: Entry | None) -> Any:
    """Return the chosen entry of what a network returned; all of it where nothing is chosen.

    Raises:
        UsageError: There is no such entry.
    """
    if output is None:
        return result
    try:
        if isinstance(result, Tensor):
            raise KeyError(output)
        if isinstance(output, str) and not isinstance(result, Mapping):
            return getattr(result, output)
        return result[output]
    except (KeyError, IndexError, AttributeError, TypeError) as error:
        what = "one tensor: leave output out" if isinstance(result, Tensor) else f"{listed(result)}"
        raise UsageError(f"output={output!r} is no entry of what the network returns, {what}.") from error


def only_image(result: Any, images: Tensor) -> Entry:
    """Return the entry that is an image, a whole number of times as large as the input.

    Raises:
        FilterlensError: None is, or several are; the message lists the entries.
    """
    found = [entry for entry, each in entries(result) if _is_image(each, images)]
    if len(found) == 1:
        return found[0]
    which = "several may be the image" if found else "none is an image a whole number of times as large as the input"
    example = repr(found[0]) if found else "0 or output='image'"
    remedy = f"Choose one: output={example}" if found or entries(result) else "Return one from it"
    raise FilterlensError(f"The network returns {listed(result)}: {which} {tuple(images.shape)}. {remedy}, or {_CALL}.")


def entries(result: Any) -> list[tuple[Entry, Any]]:
    """Return what a tuple, list, dict or object of fields holds, by index or name."""
    if isinstance(result, Mapping):
        return [(key, each) for key, each in result.items() if isinstance(key, int | str)]
    if isinstance(result, tuple | list):
        return list(enumerate(result))
    fields = vars(result) if hasattr(result, "__dict__") and not isinstance(result, Tensor | nn.Module) else {}
    return [(name, each) for name, each in fields.items() if isinstance(each, Tensor)]


def listed(result: Any) -> str:
    """Say what a network returned: the kind, and every entry with its shape."""
    inside = [f"{entry!r}: {_said(each)}" for entry, each in entries(result)[:8]]
    more = " …" if len(entries(result)) > 8 else ""
    return f"{type(result).__name__} with {', '.join(inside)}{more}" if inside else type(result).__name__


def _said(each: Any) -> str:
    return str(tuple(each.shape)) if isinstance(each, Tensor) else type(each).__name__


def _is_image(each: Any, images: Tensor) -> bool:
    if not isinstance(each, Tensor) or each.ndim != 4 or not each.is_floating_point() or not each.numel():
        return False
    height, width = images.shape[-2:]
    scale = each.shape[-2] // height
    return scale > 0 and (each.shape[0], *each.shape[-2:]) == (images.shape[0], height * scale, width * scale)


def _fitted(network: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Bring floating-point inputs to the type and device of the weights."""
    like = next((each for each in _floats(network)), None)
    if like is None:
        return inputs, named

    def fit(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(like.device, like.dtype if value.is_floating_point() else None)
        if type(value) in (list, tuple):
            return type(value)(map(fit, value))
        return value

    return tuple(map(fit, inputs)), {name: fit(value) for name, value in named.items()}


class _Fitting:
    """A network whose inputs are brought to the type and device of its weights; all else is the network's."""

    def __init__(self, network: Any) -> None:
        self._network = network

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        inputs, named = _fitted(self._network, inputs, named)
        return self._network(*inputs, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


def _floats(network: nn.Module) -> Iterator[Tensor]:
    yield from (each for each in network.parameters() if each.is_floating_point())
    yield from (each for each in network.buffers() if each.is_floating_point())


def run_as(call: Call | None, output: Entry | None, network: Any, images: Tensor) -> Tensor:
    """Run a network through a call and return its image; without a choice the only one that there is."""
    result = network(images) if call is None else call(_Fitting(network), images)
    if output is None and not isinstance(result, Tensor):
        output = only_image(result, images)
    return torch.as_tensor(entry_of(result, output))
