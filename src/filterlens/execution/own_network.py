# SPDX-License-Identifier: Apache-2.0
"""A user's network, prepared for computing: a copy without its wrappers, and a first run that finds its scale.

The copy shares nothing with the user's network and is in evaluation mode. Every output of the network is checked.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.optim.swa_utils import AveragedModel

from filterlens.errors import FilterlensError, UsageError, first_line

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
RGB = 3
_SIZES = ((16, 24), (32, 48), (64, 96), (64, 64), (128, 128), (256, 256), (96, 96), (224, 224))  # LR; cheap ones first
_OTHER_CHANNELS = (1, 4, 2, 6, 9, 12)
_WRAP = "Wrap it in a module whose forward takes and returns RGB images (B, 3, h, w)."
_PAD = "Pad inside the network, so that it loses no border whatever the size."
_NO_MULTIPLE = "no whole multiple"
_MOST_DIFFERENCE = 1e-3  # of the range: more than any rounding

Network = Callable[[Tensor], object]


def own_copy(network: nn.Module, role: str) -> nn.Module:
    """Return a deep copy without wrappers (data parallelism, ``torch.compile``, averaging), in evaluation mode.

    Parameters, buffers and modules that the network uses several times are shared in the copy in the same way.
    Activations that it keeps of an earlier pass are copied as plain numbers.

    Args:
        network: The user's; it stays as it is.
        role: The name that errors use, for example ``target``.

    Raises:
        UsageError: It is not a module.
        FilterlensError: Its weights are no numbers to compute with, or it cannot be copied.
    """
    if not isinstance(network, nn.Module):
        raise UsageError(f"The {role} is {type(network).__name__}, not a torch.nn.Module.")
    inner = unwrapped(network)
    _refuse_script(inner, role)
    for name, parameter in inner.named_parameters():
        _refuse_odd(name, parameter, role)
    places = sorted({str(parameter.device) for parameter in inner.parameters()})
    if len(places) > 1:
        raise FilterlensError(f"The weights of the {role} lie on {' and '.join(places)}. Bring them to one device.")
    return copied(inner, role).eval().requires_grad_(False)


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the network inside its wrappers."""
    while (inner := _inside(network)) is not None:
        network = inner
    return network


def copied(network: nn.Module, role: str = "network") -> nn.Module:
    """Return a deep copy of a network of which wrappers inside are left out too.

    Raises:
        FilterlensError: It cannot be copied.
    """
    memo: dict[int, Any] = {}
    try:
        for tensor in _computed(network):
            memo[id(tensor)] = tensor.detach().clone()
        for module in list(network.modules())[::-1]:  # the innermost wrapper first
            if _inside(module) is not None:
                memo[id(module)] = copy.deepcopy(unwrapped(module), memo)
        return copy.deepcopy(network, memo)
    except Exception as error:  # whatever a module of the user's holds may refuse
        raise FilterlensError(
            f"The {role} cannot be copied ({type(error).__name__}: {first_line(error, 120)}). Make it a module that "
            "copy.deepcopy takes: no open files, locks or weights that are computed from others."
        ) from error


def scale_of(network: Network, like: Tensor, given: int | None) -> int:
    """Measure HR size over LR size.

    Args:
        network: A network that takes ``(1, 3, h, w)``.
        like: A tensor of its type, on its device.
        given: The scale that the user gave, or None.

    Returns:
        The scale; what was given where the network takes no size that is tried, as networks of a fixed size.

    Raises:
        UsageError: The given scale is not the network's, or nothing is given and none can be measured.
        FilterlensError: The network returns no RGB image, or each time another one.
    """
    problems = []
    for size in _SIZES:
        found = _try(network, like, size)
        if found.scale is not None:
            if given is not None and given != found.scale:
                raise UsageError(
                    f"scale={given} is not the scale of the pair: its network makes {_made(size, found.scale)}. Pass "
                    f"scale={found.scale}, or leave it out."
                )
            return found.scale
        problems.append(found.problem)
    if given is not None:
        return given
    remedy = "Pass scale=2 (HR size over LR size; 1 for denoising)."
    if cut := next((problem for problem in problems if _NO_MULTIPLE in problem), None):
        problems[0], remedy = cut, f"{_PAD} {remedy}"
    raise UsageError(f"The scale of the pair is not known and cannot be measured: {problems[0]}. {remedy}")


def checked_output(output: object, images: Tensor, scale: int) -> Tensor:
    """Return what a network made of images ``(B, 3, h, w)``.

    Raises:
        FilterlensError: It is not a batch of RGB images.
        UsageError: It is not ``scale`` times as large.
    """
    image = _image(output)
    batch, _, height, width = images.shape
    if image.shape != (batch, RGB, height * scale, width * scale):
        ratio = image.shape[-2] // height
        fits = image.shape == (batch, RGB, height * ratio, width * ratio)
        remedy = f"Pass scale={ratio}." if fits and ratio else _PAD
        raise UsageError(
            f"The network makes {tuple(image.shape)} of {tuple(images.shape)}, not {scale} times as large. {remedy}"
        )
    return image


def failed(images: Tensor, error: Exception) -> FilterlensError:
    """Say in one line that a network failed, and at what."""
    reason = f"{type(error).__name__}: {first_line(error, 160)}".rstrip(": .")
    return FilterlensError(f"The network fails on an input of {tuple(images.shape)} ({reason}).")


def _inside(network: nn.Module) -> nn.Module | None:
    """Return what a wrapper wraps; None for what is no wrapper."""
    inner = network.module if isinstance(network, _WRAPPERS) else getattr(network, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else None


def _computed(network: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors that modules keep as attributes and that hang on a computation: those refuse to be copied."""
    for module in network.modules():
        for value in vars(module).values():
            many = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
            yield from (each for each in many if isinstance(each, Tensor) and each.grad_fn is not None)


def _refuse_script(network: nn.Module, role: str) -> None:
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            what = f"'{name}' of the {role}" if name else f"The {role}"
            raise FilterlensError(
                f"{what} is a TorchScript module, whose weights are fixed. Give the nn.Module itself."
            )


def _refuse_odd(name: str, parameter: Tensor, role: str) -> None:
    """Refuse weights between which there is no straight path of real numbers."""
    if isinstance(parameter, UninitializedParameter | UninitializedBuffer):
        raise FilterlensError(
            f"'{name}' of the {role} has no values yet (a lazy module). Run the network on an image once first."
        )
    if parameter.is_meta:
        raise FilterlensError(f"'{name}' of the {role} is on the meta device, without values. Load its weights first.")
    kind = type(parameter.data)
    if kind is not Tensor or not parameter.is_floating_point() or parameter.dtype.itemsize < 2:
        what = parameter.dtype if kind is Tensor else f"{kind.__name__} ({parameter.dtype})"
        raise FilterlensError(
            f"'{name}' of the {role} is of type {what}: filters need weights of float16, bfloat16, float32 or float64. "
            "Give the network before it was quantised or sharded."
        )


@dataclass(frozen=True)
class _Try:
    """What a network made of an image of one size: a scale, or why there is none."""

    scale: int | None
    problem: str


def _try(network: Network, like: Tensor, size: tuple[int, int]) -> _Try:
    images = _pixels(like, RGB, size)
    try:
        output = network(images.clone())
    except FilterlensError as error:
        return _explained(network, like, size, error)
    height, width = size
    image = _image(output)
    scale = image.shape[-2] // height
    if image.shape != (1, RGB, height * scale, width * scale) or not scale:
        if image.shape[1] != RGB:
            raise FilterlensError(f"The network returns {_channels(image.shape[1])} for an RGB image. {_WRAP}")
        return _Try(None, f"the network makes {tuple(image.shape)} of {tuple(images.shape)}, {_NO_MULTIPLE}")
    _refuse_chance(image, network(images))
    return _Try(scale, "")


def _explained(network: Network, like: Tensor, size: tuple[int, int], error: FilterlensError) -> _Try:
    """Say why a network fails: perhaps it takes another number of channels."""
    if size == (64, 64):
        for channels in _OTHER_CHANNELS:
            try:
                network(_pixels(like, channels, size))
            except FilterlensError:
                continue
            raise FilterlensError(f"The network takes images of {_channels(channels)}, not of 3. {_WRAP}") from error
    return _Try(None, str(error).rstrip("."))


def _image(output: object) -> Tensor:
    if not isinstance(output, Tensor):
        raise FilterlensError(f"The network returns {type(output).__name__}, not one tensor. {_WRAP}")
    if output.ndim != 4:
        raise FilterlensError(f"The network returns a tensor of shape {tuple(output.shape)}, no image. {_WRAP}")
    return output


def _refuse_chance(first: Tensor, second: object) -> None:
    """Refuse a network that gives another output each time, such as one with dropout that stays on."""
    again = _image(second)
    spread = (first - again).abs().max()
    if spread > _MOST_DIFFERENCE * (1 + first.abs().max()):
        raise FilterlensError(
            "The network gives another output each time for the same image: something in it is drawn at random "
            "although it is in evaluation mode (dropout, noise). Turn it off: F.dropout(x, p, self.training)."
        )


def _pixels(like: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
    count = channels * size[0] * size[1]
    return torch.linspace(0, 1, count, dtype=like.dtype, device=like.device).view(1, channels, *size)


def _made(size: tuple[int, int], scale: int) -> str:
    height, width = size
    return f"{width * scale}x{height * scale} pixels of {width}x{height}"


def _channels(count: int) -> str:
    return f"{count} channel{'s' if count > 1 else ''}"
