# SPDX-License-Identifier: Apache-2.0
"""Adapts any network to any RGB image: its demands on the input are found by trial, and images are padded to them.

Some blocks train several branches and compute with one fused weight (RepVGG, Ding et al. 2021; SPAN's Conv3XC): in
evaluation mode the trained weights are no longer on the way from input to output. In training mode they are, with the
same output. The same goes for blocks that save memory in evaluation mode by writing into their input (PLKSR), which no
gradient survives. Such blocks are found by their gradients, and stay in training mode.
"""

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterlens.errors import FilterlensError, first_line
from filterlens.execution.measured import CHANNELS
from filterlens.execution.own_network import bake, copied
from filterlens.filters import filter_weights, weight_of

RGB, GRAY = 3, 1
LARGEST_MULTIPLE = 64
_TRIAL = 16  # side in LR pixels of the image that a network is tried on
_SIDES = (64, 128, 256, 96, 224)
_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)
_LEAST = 96  # LR pixels of the sides on which multiples are tried: more than what attention windows need
_TOLERANCE = 1e-6  # relative, in float64: fusing rounds, some blocks fuse in float32

Call = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Needs:
    """Demands of a network on its input.

    Attributes:
        multiple: LR pixels of which both sides must be a multiple.
        minimum: Shortest side in LR pixels.
        square: Both sides must be equal.
        channels: Channels of the images that it takes.
        channels_out: Channels of the images that it returns; None for as many. A network from gray to gray takes RGB:
            every colour channel is restored for itself.
    """

    multiple: int = 1
    minimum: int = 1
    square: bool = False
    channels: int = RGB
    channels_out: int | None = None

    @property
    def gray(self) -> bool:
        """Whether the network maps gray to gray."""
        return self.channels == GRAY and self.channels_out in (None, GRAY)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the least legal size that holds an image."""
        sides = [-(-max(side, self.minimum) // self.multiple) * self.multiple for side in (height, width)]
        return (max(sides), max(sides)) if self.square else (sides[0], sides[1])


@torch.no_grad()
def scale_and_needs(network: Callable[[Tensor], Any], source: str) -> tuple[int, Needs]:
    """Return HR size over LR size, and the demands of the network on its input, by trying images of several sizes.

    A size is legal if the network takes it and returns an image ``scale`` times as large.

    Args:
        network: The network, in evaluation mode.
        source: Name of the network in errors.

    Raises:
        FilterlensError: It takes no image of the sizes and channels that were tried, or returns something else than an
            image, a whole number of times as large.
    """
    trials = ((channels, side, _output(network, channels, side, side)) for channels in CHANNELS for side in _SIDES)
    for into, side, output in trials:
        if not isinstance(output, tuple) or output[0] not in (into, RGB, GRAY) or output[1] < side:
            continue
        if output[1] == output[2] and output[1] % side == 0:
            channels, channels_out, scale = into, output[0], output[1] // side
            break
    else:
        raise FilterlensError(
            f"{source} takes no image (1, 3, h, w) or (1, 1, h, w) or returns no image a whole number of times as "
            f"large: {_output(network, RGB, _SIDES[0], _SIDES[0])} for (1, 3, 64, 64)."
        )

    def is_legal(height: int, width: int) -> bool:
        return _output(network, channels, height, width) == (channels_out, height * scale, width * scale)

    sizes = ((each, each * _prime(each)) for each in range(1, LARGEST_MULTIPLE + 1))
    multiple, legal = next(((each, size) for each, size in sizes if is_legal(size, size)), (side, side))
    minimum = next(each for each in range(multiple, legal + 1, multiple) if is_legal(each, each) or each == legal)
    others = None if channels == channels_out else channels_out
    return scale, Needs(multiple, minimum, not is_legal(legal, 2 * legal), channels, others)


def _prime(multiple: int) -> int:
    """Return a factor that brings a multiple to a size that is a multiple of nothing else."""
    return next(prime for prime in _PRIMES if prime * multiple >= _LEAST)


def _output(network: Callable[[Tensor], Any], channels: int, height: int, width: int) -> tuple[int, ...] | str:
    """Return channels, height and width of what the network returns, or in words why it is no image."""
    images = torch.linspace(0, 1, channels * height * width).view(1, channels, height, width)
    try:
        output = network(images)
    except Exception as error:  # a size that does not fit fails in the network's own way
        return f"{type(error).__name__}: {first_line(error, 120)}"
    if not isinstance(output, torch.Tensor) or output.ndim != 4 or output.shape[0] != 1:
        return f"it returns {type(output).__name__} {tuple(getattr(output, 'shape', ()))}"
    return tuple(output.shape[1:])


def padded(images: Tensor, height: int, width: int) -> Tensor:
    """Continue images ``(…, h, w)`` below and to the right by reflection, and beyond that with the last pixel."""
    below, right = height - images.shape[-2], width - images.shape[-1]
    if not (below or right):
        return images
    mirrored = [min(right, images.shape[-1] - 1), min(below, images.shape[-2] - 1)]
    images = F.pad(images, (0, mirrored[0], 0, mirrored[1]), "reflect")
    return F.pad(images, (0, right - mirrored[0], 0, below - mirrored[1]), "replicate")


def taking_any_image(network: nn.Module, scale: int, needs: Needs, call: Call | None = None) -> nn.Module:
    """Return a copy of a network that takes RGB images of any size and computes with its trained weights.

    It is an instance of a subclass of the network's own class, with the same parameter names. Blocks that fuse their
    branches in evaluation mode compute with the branches: see :func:`branches_in_use`.

    Args:
        network: ``(B, C, h, w)`` → ``(B, C', h·scale, w·scale)`` for the sizes that it takes.
        scale: HR size over LR size.
        needs: Demands on its input.
        call: ``call(network, images)``, for networks that take or return more than an image.

    Raises:
        FilterlensError: A weight is derived from others, in a way that cannot be undone here.
    """
    result = copied(network).float().eval()
    bake(result)
    own = type(result)
    settings = {"_scale_of_output": scale, "_needs": needs, "_call": staticmethod(call or _plainly)}
    settings |= {"_in_training": (), "__module__": own.__module__}
    fix_what_is_frozen(result)
    result.__class__ = type(own.__name__, (_TakesAnyImage, own), settings)
    side = max(needs.size(_TRIAL, _TRIAL))
    images = torch.rand(
        1, RGB if needs.gray else needs.channels, side, side, generator=torch.Generator().manual_seed(0)
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the network's code
            result, in_training = branches_in_use(result, images)
    except FilterlensError:
        raise
    except Exception as error:  # of the network's code
        raise FilterlensError(f"{own.__name__} fails on an image of {side}x{side}: {first_line(error)}") from error
    cast(type[_TakesAnyImage], type(result))._in_training = in_training
    return result.eval()


class _TakesAnyImage(nn.Module):
    """Comes before a network's own class: its forward is around the network's.

    The settings are the class's, so neither state dict nor attributes of the network change.
    """

    _scale_of_output: ClassVar[int]
    _needs: ClassVar[Needs]
    _call: ClassVar[Call]
    _in_training: ClassVar[tuple[str, ...]]

    def forward(self, images: Tensor) -> Tensor:
        """Map LR ``(B, 3, h, w)`` in [0, 1] to HR ``(B, 3, h·scale, w·scale)``."""
        batch, _, height, width = images.shape
        if self._needs.gray:
            images = images.flatten(0, 1).unsqueeze(1)
        images = images.clone(memory_format=torch.contiguous_format)  # some write into it, many take views of rows
        images = padded(images, *self._needs.size(height, width))
        output = type(self)._call(_Inner(self, super().forward), images)
        if self._needs.gray:
            output = output.reshape(batch, RGB, *output.shape[-2:])
        return output[..., : height * self._scale_of_output, : width * self._scale_of_output]

    def train(self, mode: bool = True) -> "_TakesAnyImage":
        """Set the mode of all modules but those that stay in training mode."""
        super().train(mode)
        for name in self._in_training:
            self.get_submodule(name).training = True
        return self

    def to(self, *places: Any, **named: Any) -> Any:
        """Move the network; its weights stay in rows, as networks that take views of rows need them."""
        named.pop("memory_format", None)
        return super().to(*places, **named) if places or named else self


class _Inner:
    """The network without its wrapper, for a function that calls it and may read its attributes."""

    def __init__(self, network: nn.Module, forward: Callable[..., Any]) -> None:
        self._network, self._forward = network, forward

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        return self._forward(*inputs, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


def _plainly(network: Any, images: Tensor) -> Tensor:
    output: Tensor = network(images)
    return output


def branches_in_use(network: nn.Module, images: Tensor) -> tuple[nn.Module, tuple[str, ...]]:
    """Return a copy whose trained weights all count, and the modules that must stay in training mode for that.

    Fused copies of weights become buffers: no training moves them. A weight that counts in neither mode (a layer that
    the network never calls) stays as it is.

    Args:
        network: The network, in evaluation mode.
        images: Input on which it is tried.

    Raises:
        FilterlensError: The network computes something else with the branches than with the fused weights, or no
            gradient reaches any weight.
    """
    result = copy.deepcopy(network).eval().requires_grad_(True)
    before = _unused(result, images)
    names: list[str] = []
    while (found := _fusing(result, _unused(result, images), images, names)) is not None:
        names += found
        _set_training(result, names)
    after = _unused(result, images)
    if all(weight_of(layer) in after for layer, _ in filter_weights(result)):
        raise FilterlensError(
            f"{type(network).__name__} cannot be differentiated: no gradient of its output reaches a weight. Load a "
            "network that computes without writing into its own activations and without detaching them."
        )
    if not names:
        return result, ()
    _check_equal(result, names, images)
    for weight in after - before:
        copied = result.get_submodule(weight.rpartition(".")[0])
        fix(copied, [name for name, _ in copied.named_parameters(recurse=False)])
    return result, tuple(names)


def _unused(network: nn.Module, images: Tensor) -> set[str]:
    """Return the weights that no gradient reaches."""
    weights = {weight_of(layer): weight for layer, weight in filter_weights(network)}
    with torch.enable_grad():
        output: Tensor = network(images)
        try:
            found = torch.autograd.grad(output.sum(), list(weights.values()), allow_unused=True)
        except RuntimeError:  # a block writes into what the gradient needs, some only in evaluation mode
            return set(weights)
    return {name for name, gradient in zip(weights, found, strict=True) if gradient is None}


def _fusing(network: nn.Module, unused: set[str], images: Tensor, known: list[str]) -> list[str] | None:
    """Return the modules of a class whose training mode lets an unused weight count; None where there is none."""
    tried: set[type[nn.Module]] = {type(network.get_submodule(name)) for name in known}
    for weight in sorted(unused):
        for owner in _owners(weight):
            block = type(network.get_submodule(owner))
            if block in tried or not owner:
                continue
            tried.add(block)
            alike = [name for name, module in network.named_modules() if type(module) is block]
            _set_training(network, known + alike)
            counts = weight not in _unused(network, images)
            network.eval()
            _set_training(network, known)
            if counts:
                return alike
    return None


def _owners(weight: str) -> Iterator[str]:
    """Yield the modules around a weight, the innermost first."""
    while weight:
        weight = weight.rpartition(".")[0]
        yield weight


def _set_training(network: nn.Module, names: list[str]) -> None:
    for name in names:
        network.get_submodule(name).training = True


def _check_equal(network: nn.Module, names: list[str], images: Tensor) -> None:
    probe, images = copy.deepcopy(network).double(), images.double()
    with torch.no_grad():
        branches: Tensor = probe(images)
        fused: Tensor = probe.eval()(images)
    if not torch.allclose(branches, fused, rtol=_TOLERANCE, atol=_TOLERANCE * float(fused.abs().max())):
        block = type(network.get_submodule(names[0])).__name__
        raise FilterlensError(
            f"'{names[0]}' ({block}) computes with a fused weight that its trained ones do not give, so those are no "
            "point on a path. Save the network after fusing it, as a plain convolution, and load that."
        )


def fix(module: nn.Module, names: Iterable[str]) -> None:
    """Turn parameters of a module into buffers of the same names: constants, which no training moves."""
    for name in list(names):
        value = getattr(module, name).detach()
        delattr(module, name)
        module.register_buffer(name, value)


def fix_what_is_frozen(network: nn.Module) -> None:
    """Turn frozen parameters (the mean of a data set, as a convolution) into constants.

    Where everything is frozen, it was meant for something else, and stays.
    """
    if not any(parameter.requires_grad for parameter in network.parameters()):
        return
    for module in network.modules():
        frozen = [name for name, each in module.named_parameters(recurse=False) if not each.requires_grad]
        fix(module, frozen)
