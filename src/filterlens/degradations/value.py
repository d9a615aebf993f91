# SPDX-License-Identifier: Apache-2.0
"""A degradation as a value: what makes a low-resolution image of a clean one, whether written, a function, or pairs."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from filterlens.arguments import seed_number, whole_number
from filterlens.callables import CallableFacts, fingerprint_of
from filterlens.data.samples import PairedSample
from filterlens.degradations.randomness import derive_seed, image_keys
from filterlens.degradations.resample import downsample
from filterlens.errors import FilterlensError, UsageError, first_line
from filterlens.pixels import require_finite

Function = Callable[..., Tensor]


class AnyDegradation(ABC):
    """A way from clean images to what a network gets."""

    is_clean: bool = False
    """Whether only down-sampling and rounding remain."""

    @abstractmethod
    def apply(
        self,
        images: Tensor,
        scale: int,
        *,
        seed: int = 0,
        keys: Sequence[str] | None = None,
        resampler: str = "bicubic",
    ) -> Tensor:
        """Make the inputs of a network.

        Args:
            images: HR images ``(B, C, H, W)`` in [0, 1]; H and W multiples of ``scale``.
            scale: HR size over LR size.
            seed: Seed of random numbers, together with ``keys``.
            keys: One key per image; by default made from the content, so order and batch do not matter.
            resampler: See :func:`filterlens.degradations.resample.downsample`.

        Returns:
            LR images ``(B, c, H/scale, W/scale)``.
        """

    @property
    @abstractmethod
    def facts(self) -> Any:
        """What a record says of it: the text of a written one, else a JSON object."""

    @property
    def fingerprint(self) -> str | None:
        """What tells it from every other one in stores; None where only the pixels that it makes can tell."""
        return str(self.facts)


@dataclass(frozen=True, eq=False)
class OwnDegradation(AnyDegradation):
    """A degradation that is a function of the user's.

    The function gets one HR image ``(1, C, H, W)`` in [0, 1], and a ``torch.Generator`` where it has a parameter of
    that name. It returns what the network gets, ``(1, c, H/scale, W/scale)``; what it returns in HR size is
    down-sampled as for written degradations. Nothing is clipped or rounded. Its random numbers from torch, with or
    without the generator, depend on the image's content and the seed alone.

    Attributes:
        function: The function.

    Example:
        >>> OwnDegradation(lambda image: image / 2).apply(torch.ones(1, 3, 2, 2), 1).unique()
        tensor([0.5000])
    """

    function: Function

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise UsageError(f"{self.function!r:.60} is no degradation: a function of an image (1, C, H, W) in [0, 1].")

    @cached_property
    def known(self) -> CallableFacts:
        """What the function is known by."""
        return fingerprint_of(self.function)

    @property
    def facts(self) -> Any:
        """Module, name and hash of the function's code."""
        return {
            "module": self.known.module,
            "function": self.known.qualified_name,
            "source_sha256": self.known.source_hash,
        }

    @property
    def fingerprint(self) -> str | None:
        """The hash of the function's code and of all it holds; None where it holds what cannot be hashed."""
        return str(self.facts) if self.known.stable else None

    @cached_property
    def _takes_generator(self) -> bool:
        try:
            return "generator" in inspect.signature(self.function).parameters
        except (TypeError, ValueError):  # some built-in functions tell nothing
            return False

    @torch.no_grad()
    def apply(
        self,
        images: Tensor,
        scale: int,
        *,
        seed: int = 0,
        keys: Sequence[str] | None = None,
        resampler: str = "bicubic",
    ) -> Tensor:
        """Make the inputs of a network; see :meth:`AnyDegradation.apply`.

        Raises:
            FilterlensError: The function fails, or returns no image of the right size.
        """
        scale, seed = whole_number(scale, "scale", 1), seed_number(seed)
        keys = image_keys(images) if keys is None else keys
        made = [self._one(image[None], scale, derive_seed(seed, key)) for image, key in zip(images, keys, strict=True)]
        lowered = torch.cat([downsample(each, scale, resampler) if larger else each for each, larger in made])
        return lowered.to(images)

    def _one(self, image: Tensor, scale: int, seed: int) -> tuple[Tensor, bool]:
        """Return what the function makes of ``(1, C, H, W)``, and whether that must be down-sampled."""
        given = {"generator": torch.Generator().manual_seed(seed)} if self._takes_generator else {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                made = self.function(image.clone(), **given)
            except FilterlensError:
                raise
            except Exception as error:  # of the user's code
                reason = f"{type(error).__name__}: {first_line(error, 160)}".rstrip(": .")
                raise FilterlensError(f"{self._named} fails on an image of {tuple(image.shape)} ({reason}).") from error
        height, width = image.shape[-2:]
        if not isinstance(made, Tensor) or made.ndim != 4 or len(made) != 1 or not made.is_floating_point():
            what = f"{made.dtype} of {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
            raise FilterlensError(
                f"{self._named} returns {what} for an image of {tuple(image.shape)}, not floats (1, channels, height, "
                "width)."
            )
        if made.shape[-2:] not in ((height, width), (height // scale, width // scale)):
            raise FilterlensError(
                f"{self._named} returns {made.shape[-1]}x{made.shape[-2]} pixels for an image of {width}x{height}: it "
                f"must return {width // scale}x{height // scale} at x{scale}"
                + ("." if scale == 1 else f", or the size of the image, which is then reduced by {scale}.")
            )
        require_finite(made, self._named)
        return made, scale > 1 and made.shape[-2:] == (height, width)

    @property
    def _named(self) -> str:
        return f"the degradation '{self.known.qualified_name}'"


@dataclass(frozen=True, eq=False)
class Pairs(AnyDegradation):
    """A degradation that is known by pairs alone: what the network gets, and the truth of the same scene.

    Attributes:
        samples: The pairs.
        origin: What a record says of where they come from.
    """

    samples: tuple[PairedSample, ...]
    origin: Any = None

    def __post_init__(self) -> None:
        if not self.samples:
            raise UsageError("There are no pairs.")

    @property
    def facts(self) -> Any:
        """Where the pairs come from."""
        return {"pairs": self.origin if self.origin is not None else len(self.samples)}

    @property
    def fingerprint(self) -> str:
        """Nothing but that they are pairs: each sample has its own fingerprint."""
        return "pairs"

    @property
    def has_truth(self) -> bool:
        """Whether every pair has its truth."""
        return all(sample.has_truth for sample in self.samples)

    def apply(
        self,
        images: Tensor,
        scale: int,
        *,
        seed: int = 0,
        keys: Sequence[str] | None = None,
        resampler: str = "bicubic",
    ) -> Tensor:
        """Refuse: how the pairs were made is not known.

        Raises:
            UsageError: Always.
        """
        raise UsageError("A degradation given as pairs cannot be applied to other images: give a text or a function.")
