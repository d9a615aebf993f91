# SPDX-License-Identifier: Apache-2.0
"""Objectives: the scalar L(output, reference) whose change from baseline to target is attributed to filters."""

import functools
import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from filterlens.arguments import real_number, whole_number
from filterlens.callables import CallableFacts, fingerprint_of
from filterlens.errors import FilterlensError, UsageError, first_line, unknown
from filterlens.execution.memory import is_out_of_memory
from filterlens.pair import ModelPair
from filterlens.settings import shown

REFERENCES = ("truth", "target", "baseline")
NETWORKS = ("alex", "vgg", "squeeze")
LEAST_SPAN = 0.1  # of the loss: where it changes less on the path, errors are compared with this
NOT_ADDITIVE = 1e-3  # a share of the loss by which a sum over parts may miss the whole


@dataclass(frozen=True)
class Objective(ABC):
    """A scalar of a network's output and a reference r; FAIG attributes its change from baseline to target.

    Attributes:
        to: Choice of r. ``truth``: the ground truth, as in the paper. ``target``: the target's own output F(θ, x).
            ``baseline``: the baseline's output F(θ̄, x). The last two need no ground truth.
    """

    to: str = field(default="truth", kw_only=True)

    def __post_init__(self) -> None:
        if self.to not in REFERENCES:
            raise unknown("objective", str(self.to), REFERENCES)

    def __call__(self, output: Tensor, reference: Tensor) -> Tensor:
        """Return :meth:`loss`."""
        return self.loss(output, reference)

    def __str__(self) -> str:
        return self.name

    @property
    def is_shipped(self) -> bool:
        """Whether filterlens defines L, and not the user."""
        return type(self) in LOSSES.values()

    @property
    @abstractmethod
    def name(self) -> str:
        """The name in records and notes."""

    @property
    def additive(self) -> bool:
        """Whether L is a sum over pixels: only then large images may be computed in tiles, exactly."""
        return False

    @property
    def facts(self) -> dict[str, Any]:
        """Everything that decides L, but for ``to``: a JSON object for the record, by which kept results are known.

        A class of your own counts with its code and the values of its fields.
        """
        if not self.is_shipped:
            return {"name": self.name, "additive": self.additive, **fingerprint_of(self.loss).record}
        own = [each.name for each in fields(self) if each.name != "to"]
        return {"name": self.name} | {name: getattr(self, name) for name in own}

    @abstractmethod
    def loss(self, output: Tensor, reference: Tensor) -> Tensor:
        """Return the scalar L.

        Args:
            output: Output of a network, ``(1, C, H, W)``, not clipped.
            reference: The image r that it is compared with, of the same shape.
        """

    def network(self, pair: ModelPair) -> Tensor | None:
        """Return the flat parameters whose output is r; None where r is the ground truth."""
        return {"truth": None, "target": pair.target, "baseline": pair.baseline}[self.to]

    def least_span(self, largest: float) -> float:
        """Return the change of L that errors of an integral are compared with, where L hardly changes on the path.

        Args:
            largest: Largest absolute value of L on the path.
        """
        return LEAST_SPAN * largest


@dataclass(frozen=True)
class SquaredDistance(Objective):
    """L(γ, x) = ‖F(γ, x) − r‖², summed over pixels and channels (paper, equation 3): the default."""

    to: str = "truth"
    name: ClassVar[str] = "squared"
    additive: ClassVar[bool] = True

    def loss(self, output: Tensor, reference: Tensor) -> Tensor:
        """Return the scalar ‖output − r‖², a sum over pixels."""
        return (output - reference).square().sum()


@dataclass(frozen=True)
class L1(Objective):
    """L = Σ |F(γ, x) − r|, summed over pixels and channels.

    Its gradient jumps where a pixel's error changes sign, so integrals need more nodes than a smooth one's.
    """

    to: str = "truth"
    name: ClassVar[str] = "l1"
    additive: ClassVar[bool] = True

    def loss(self, output: Tensor, reference: Tensor) -> Tensor:
        """Return the scalar Σ |output − r|."""
        return (output - reference).abs().sum()


@dataclass(frozen=True)
class Charbonnier(Objective):
    """L = Σ √((F(γ, x) − r)² + ε²), summed over pixels and channels: a smooth L1 (Charbonnier et al., 1994).

    Attributes:
        epsilon: ε, the error below which the square root is round; in units of pixels in [0, 1].
    """

    epsilon: float = 1e-3
    name: ClassVar[str] = "charbonnier"
    additive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "epsilon", real_number(self.epsilon, "epsilon", above=0))

    def loss(self, output: Tensor, reference: Tensor) -> Tensor:
        """Return the scalar Σ √((output − r)² + ε²)."""
        return ((output - reference).square() + self.epsilon**2).sqrt().sum()


@dataclass(frozen=True)
class PSNR(Objective):
    """L = −10 log₁₀ of the mean squared error: the peak signal-to-noise ratio in dB of images in [0, 1].

    Neither clipped nor rounded to 8 bits, all channels at once. A contribution is in dB: positive where the filter's
    change raises the PSNR.

    Attributes:
        crop: Border pixels that do not count.
    """

    crop: int = 0
    name: ClassVar[str] = "psnr"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "crop", whole_number(self.crop, "cropped border pixels", 0))
        if self.to != "truth":
            raise UsageError(
                f"The PSNR to the {self.to} is infinite at the {self.to} itself. Take another loss for the objective "
                f"'{self.to}', for example squared, or the objective 'truth'."
            )

    def loss(self, output: Tensor, reference: Tensor) -> Tensor:
        """Return the PSNR in dB."""
        difference = output - reference
        if self.crop:
            if min(output.shape[-2:]) <= 2 * self.crop:
                raise UsageError(f"Nothing of {tuple(output.shape)} is left with {self.crop} border pixels cropped.")
            difference = difference[..., self.crop : -self.crop, self.crop : -self.crop]
        return -10 * difference.square().mean().log10()

    def least_span(self, largest: float) -> float:
        """Return the dB by which a tenth of the squared error changes it; where 0 dB is has no meaning."""
        return 10 * math.log10(1 + LEAST_SPAN)


@dataclass(frozen=True)
class LPIPS(Objective):
    """L = LPIPS distance of RGB images, "the perceptual loss" (Zhang et al., 2018).

    It is computed by the package ``lpips``, which is not part of filterlens and fetches its network's weights when it
    is first used.

    Attributes:
        net: Network that judges: ``alex``, ``vgg`` or ``squeeze``.
    """

    net: str = "alex"
    name: ClassVar[str] = "lpips"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.net not in NETWORKS:
            raise unknown("LPIPS network", str(self.net), NETWORKS)

    def loss(self, output: Tensor, reference: Tensor) -> Tensor:
        """Return the LPIPS distance of images in [0, 1]; not clipped.

        Raises:
            UsageError: The images have not 3 channels, or the package is missing or cannot load its weights.
        """
        if output.shape[-3] != 3:
            raise UsageError(f"LPIPS compares RGB images, and the network returns {output.shape[-3]} channels.")
        judge = _judge(self.net, output.device, output.dtype)
        distance: Tensor = judge(2 * output - 1, 2 * reference - 1)
        return distance.sum()


@functools.cache
def _judge(net: str, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor, Tensor], Tensor]:
    """Load LPIPS once.

    Raises:
        UsageError: The package is missing, or it cannot load its weights.
    """
    try:
        judge = importlib.import_module("lpips").LPIPS(net=net, verbose=False)
    except ImportError as error:
        raise UsageError(f"The objective 'lpips' needs the package lpips ({error}): pip install lpips.") from error
    except Exception as error:  # of many kinds: no network, a full disk, a damaged file
        raise UsageError(
            f"LPIPS cannot load the weights of '{net}' ({first_line(error)}). They are fetched once: run it with a "
            "network connection first."
        ) from error
    found: Callable[[Tensor, Tensor], Tensor] = judge.to(device, dtype).eval().requires_grad_(False)
    return found


@dataclass(frozen=True)
class OwnObjective(Objective):
    """Any function of yours as L.

    Attributes:
        function: ``(output, reference) -> scalar``, both ``(1, C, H, W)``; differentiable with PyTorch. Its own
            parameters, for example of a network that judges, get no gradients.
        additive: Whether the scalar is a sum over pixels (not a mean). Large images are then computed in tiles.
        name: Name in records and notes; default: the function's own.

    Raises:
        UsageError: The function is none; or, when it is used: it fails, returns no scalar or one without a gradient, or
            says that it is additive and is not.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    additive: bool = False
    name: str = ""
    callable_facts: CallableFacts = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.function) or isinstance(self.function, type):
            raise UsageError(f"{shown(self.function)} is no function (output, reference) -> scalar.")
        if not isinstance(self.additive, bool):
            raise UsageError(f"additive = {shown(self.additive)} is not legal: True or False.")
        object.__setattr__(self, "callable_facts", fingerprint_of(self.function))  # before a call may change its state
        object.__setattr__(self, "name", self.name or self.callable_facts.qualified_name)

    @property
    def facts(self) -> dict[str, Any]:
        """Name, whether it is additive, and module, qualified name and source hash of the function."""
        return {"name": self.name, "additive": self.additive, **self.callable_facts.record}

    def loss(self, output: Tensor, reference: Tensor) -> Tensor:
        """Return what the function returns, a scalar."""
        try:
            value = self.function(output, reference)
        except FilterlensError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise UsageError(
                f"The objective '{self.name}' fails on outputs {tuple(output.shape)} with {type(error).__name__}: "
                f"{first_line(error)}"
            ) from error
        if not isinstance(value, Tensor):
            raise self._wrong(f"returns {shown(value)}, a {type(value).__name__}", "Return a tensor")
        if value.numel() != 1 or not value.is_floating_point():
            raise self._wrong(
                f"returns a tensor of {tuple(value.shape)} in {value.dtype}", "Return the sum or the mean"
            )
        if output.requires_grad and not value.requires_grad:
            raise self._wrong(f"returns {shown(value)}, which has no gradient", "Compute it from the output by PyTorch")
        return value.reshape(())

    def _wrong(self, what: str, remedy: str) -> UsageError:
        return UsageError(
            f"The objective '{self.name}' {what}. {remedy}, a differentiable scalar of (output, reference), for "
            "example (output - reference).abs().sum()."
        )


LOSSES: dict[str, type[Objective]] = {
    "squared": SquaredDistance,
    "l1": L1,
    "charbonnier": Charbonnier,
    "psnr": PSNR,
    "lpips": LPIPS,
}
"""The losses that a word names."""


def as_objective(value: Any, loss: str = "squared") -> Objective:
    """Return an objective from any form that users write.

    Args:
        value: ``truth``, ``target`` or ``baseline``; an :class:`Objective`; or a function (output, reference) → scalar,
            which is taken as not additive.
        loss: Key of :data:`LOSSES`, where ``value`` is a word.

    Raises:
        UsageError: Something else, or a word that is not known.
    """
    if isinstance(value, Objective):
        return value
    if isinstance(value, str):
        if loss not in LOSSES:
            raise unknown("loss", str(loss), LOSSES)
        return LOSSES[loss](to=value)
    if isinstance(value, type) and issubclass(value, Objective) and value in LOSSES.values():
        return value()
    if callable(value) and not isinstance(value, type):
        return OwnObjective(value)
    raise UsageError(
        f"The objective {shown(value)} is not legal. Legal: {', '.join(REFERENCES)}, an objective such as L1(), or a "
        "function (output, reference) -> scalar."
    )


def refuse_if_not_additive(
    loss: Callable[[Tensor, Tensor], Tensor], output: Callable[[], Tensor], reference: Tensor
) -> None:
    """Compare an own loss of a whole image with the sum over its four quarters, if it is said to be a sum over pixels.

    Args:
        loss: Any loss; only an objective of the user's own is doubted.
        output: Function that returns the output, called only then.
        reference: Reference of the loss.

    Raises:
        UsageError: They differ, so that tiles would not be exact.
    """
    if not isinstance(loss, Objective) or loss.is_shipped or not loss.additive or min(reference.shape[-2:]) < 2:
        return
    height, width = (side // 2 for side in reference.shape[-2:])
    rows, columns = ((slice(None, middle), slice(middle, None)) for middle in (height, width))
    with torch.no_grad():
        image = output()
        whole = float(loss(image, reference))
        parts = sum(float(loss(image[..., r, c], reference[..., r, c])) for r in rows for c in columns)
    if abs(parts - whole) > NOT_ADDITIVE * max(abs(whole), abs(parts)):
        raise UsageError(
            f"The objective '{loss.name}' is no sum over pixels: {whole:.6g} for an image, {parts:.6g} for its four "
            "quarters together. Leave out additive=True, or return a sum instead of a mean."
        )
