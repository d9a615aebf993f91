# SPDX-License-Identifier: Apache-2.0
"""Networks that ask something of their input, made to take any RGB image: padded up to it and cut back."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterlens.errors import FilterlensError, first_line
from filterlens.models.reparameterised import branches_in_use, fix_what_is_frozen

RGB, GRAY = 3, 1
_TRIAL = 16  # side in LR pixels of the image that a network is tried on

Call = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Needs:
    """What a network asks of its input.

    Attributes:
        multiple: Both sides must be a multiple of this many LR pixels.
        minimum: Shortest side in LR pixels.
        square: Both sides must be equal.
        channels: 3, or 1: then every colour channel is restored for itself.
    """

    multiple: int = 1
    minimum: int = 1
    square: bool = False
    channels: int = RGB

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the least legal size that holds an image."""
        sides = [-(-max(side, self.minimum) // self.multiple) * self.multiple for side in (height, width)]
        return (max(sides), max(sides)) if self.square else (sides[0], sides[1])


def padded(images: Tensor, height: int, width: int) -> Tensor:
    """Continue images ``(…, h, w)`` below and to the right by reflection; what is wider, by the last pixel."""
    below, right = height - images.shape[-2], width - images.shape[-1]
    if not (below or right):
        return images
    mirrored = [min(right, images.shape[-1] - 1), min(below, images.shape[-2] - 1)]
    images = F.pad(images, (0, mirrored[0], 0, mirrored[1]), "reflect")
    return F.pad(images, (0, right - mirrored[0], 0, below - mirrored[1]), "replicate")


def fitted(network: nn.Module, scale: int, needs: Needs, call: Call | None = None) -> nn.Module:
    """Return a copy of a network that takes RGB images of any size and computes with its trained weights.

    It is an instance of a subclass of the network's own class, with the same parameter names. Blocks that fuse their
    branches in evaluation mode compute with the branches: see :mod:`filterlens.models.reparameterised`.

    Args:
        network: ``(B, C, h, w)`` → ``(B, C, h·scale, w·scale)`` for the sizes that it takes.
        scale: HR size over LR size.
        needs: What it takes.
        call: How it is called, for networks that want or return more than an image: ``call(network, images)``.

    Raises:
        FilterlensError: A weight is derived from others, in a way that cannot be undone here.
    """
    kind = type(network)
    settings = {"_scale_of_output": scale, "_needs": needs, "_call": staticmethod(call or _plainly)}
    settings |= {"_in_training": (), "__module__": kind.__module__}
    result = copy.deepcopy(network).float()
    fix_what_is_frozen(result)
    result.__class__ = type(kind.__name__, (_Fitted, kind), settings)
    side = max(needs.size(_TRIAL, _TRIAL))
    images = torch.rand(1, RGB, side, side, generator=torch.Generator().manual_seed(0))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the network's code
            result, in_training = branches_in_use(result, images)
    except FilterlensError:
        raise
    except Exception as error:  # of the network's code
        raise FilterlensError(f"{kind.__name__} fails on an image of {side}x{side}: {first_line(error)}") from error
    cast(type[_Fitted], type(result))._in_training = in_training
    return result.eval()


class _Fitted(nn.Module):
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
        if self._needs.channels == GRAY:
            images = images.flatten(0, 1).unsqueeze(1)
        images = images.clone(memory_format=torch.contiguous_format)  # some write into it, many take views of rows
        images = padded(images, *self._needs.size(height, width))
        output = type(self)._call(_Inner(self, super().forward), images)
        if self._needs.channels == GRAY:
            output = output.reshape(batch, RGB, *output.shape[-2:])
        return output[..., : height * self._scale_of_output, : width * self._scale_of_output]

    def train(self, mode: bool = True) -> "_Fitted":
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
    """The network without what is around it, for a function that calls it and may ask for its attributes."""

    def __init__(self, network: nn.Module, forward: Callable[..., Any]) -> None:
        self._network, self._forward = network, forward

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        return self._forward(*inputs, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


def _plainly(network: Any, images: Tensor) -> Tensor:
    output: Tensor = network(images)
    return output
