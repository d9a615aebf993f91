# SPDX-License-Identifier: Apache-2.0
"""A degradation as a user writes it, ``blur:2+noise:0.1``, and the chain that makes the low-resolution image."""

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from torch import Tensor

from filterlens.arguments import as_list, seed_number, whole_number
from filterlens.degradations.added import Added, Kind, added, legal_options
from filterlens.degradations.blur import GaussianBlur, MotionBlur
from filterlens.degradations.jpeg import Jpeg
from filterlens.degradations.noise import GaussianNoise, PoissonNoise
from filterlens.degradations.randomness import KeyedRandom, RandomSource, image_keys
from filterlens.degradations.resample import downsample
from filterlens.degradations.value import AnyDegradation
from filterlens.errors import UsageError, unknown
from filterlens.pixels import require_unit_range
from filterlens.plugins import DEGRADATIONS, declared, refuse_clash

CLEAN = "clean"
_CHANNELS = (1, 3, 4)
GRAMMAR = (
    "blur:2  blur:4,sigma_y=1,angle=30,kernel=21  motion:15,angle=30  noise:0.1  poisson:200  jpeg:30  "
    "blur:2+noise:0.1  clean"
)

Blur = GaussianBlur | MotionBlur
Noise = GaussianNoise | PoissonNoise
Effect = Blur | Noise | Jpeg
_EFFECTS: dict[str, tuple[Callable[..., Effect], dict[str, type[int] | type[float]]]] = {
    "blur": (GaussianBlur, {"sigma": float, "sigma_y": float, "angle": float, "kernel": int}),
    "motion": (MotionBlur, {"length": float, "angle": float}),
    "noise": (GaussianNoise, {"sigma": float}),
    "poisson": (PoissonNoise, {"peak": float}),
    "jpeg": (Jpeg, {"quality": int}),
}


@dataclass(frozen=True)
class Degradation(AnyDegradation):
    """A chain blur (Gaussian or motion) → down → noise → JPEG → 8-bit rounding, of which each effect may be absent.

    With no effect it is ``clean``: only the down-sampling and the rounding. An effect of another package stands alone.

    Example:
        >>> str(Degradation.parse("noise:0.10+blur:2"))
        'blur:2+noise:0.1'
    """

    blur: Blur | None = None
    noise: Noise | None = None
    jpeg: Jpeg | None = None
    added: Added | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: "str | Degradation") -> "Degradation":
        """Read a degradation from its written form; a :class:`Degradation` passes unchanged.

        Raises:
            UsageError: The text does not follow the grammar, names an unknown effect, or repeats one.
        """
        if isinstance(text, Degradation):
            return text
        if not isinstance(text, str):
            raise UsageError(f"{text!r:.60} is no degradation. Written as: {GRAMMAR}.")
        found: dict[str, Effect] = {}
        if text.strip() == CLEAN:
            return cls()
        if (of_package := _parse_added(text)) is not None:
            return cls(added=of_package)
        for part in re.split(r"\+(?!\d)", text):  # 1e+3 is one number
            if part.strip() == CLEAN:
                raise UsageError(f"Degradation '{text}' joins '{CLEAN}' with an effect; '{CLEAN}' stands alone.")
            effect = _parse_effect(part.strip(), text)
            slot = "blur" if isinstance(effect, Blur) else "noise" if isinstance(effect, Noise) else "jpeg"
            if slot in found:
                raise UsageError(f"Degradation '{text}' has two {slot} effects; one of each kind is possible.")
            found[slot] = effect
        return cls(
            blur=cast(Blur | None, found.get("blur")),
            noise=cast(Noise | None, found.get("noise")),
            jpeg=cast(Jpeg | None, found.get("jpeg")),
        )

    def __str__(self) -> str:
        return "+".join(str(effect) for effect in self.effects) or CLEAN

    @property
    def effects(self) -> tuple[Effect | Added, ...]:
        """The effects, in the order in which they are applied."""
        return tuple(each for each in (self.added, self.blur, self.noise, self.jpeg) if each is not None)

    @property
    def facts(self) -> str:
        """The written form."""
        return str(self)

    @property
    def fingerprint(self) -> str:
        """The written form, with the package of an effect that is not ours."""
        return str(self) if self.added is None else f"{self} ({self.added.plugin})"

    @property
    def is_clean(self) -> bool:  # type: ignore[override]
        """Whether only down-sampling and rounding remain."""
        return not self.effects

    def apply(
        self,
        images: Tensor,
        scale: int,
        *,
        seed: int = 0,
        keys: Sequence[str] | None = None,
        resampler: str = "bicubic",
        differentiable: bool = False,
        random: RandomSource | None = None,
    ) -> Tensor:
        """Make low-resolution images.

        Args:
            images: HR images ``(B, C, H, W)`` in [0, 1], RGB, gray, or with a fourth channel; H and W multiples of
                ``scale``.
            scale: Down-sampling factor; 1 keeps the size.
            seed: Seed of the noise, together with ``keys``.
            keys: One key per image; by default made from the content, so order and batch do not matter.
            resampler: See :func:`filterlens.degradations.resample.downsample`.
            differentiable: Use the differentiable JPEG and let the gradient pass straight through the rounding.
            random: Source in place of ``seed`` and ``keys`` (training draws from a stream).

        Returns:
            LR images ``(B, C, H/scale, W/scale)`` in [0, 1] on 256 levels.
        """
        if images.ndim != 4 or images.shape[1] not in _CHANNELS:
            raise UsageError(
                f"Images must have the shape (batch, channels, height, width) with 1, 3 or 4 channels, not "
                f"{tuple(images.shape)}."
            )
        if self.jpeg is not None and images.shape[1] > 3:
            raise UsageError(f"'{self}' compresses gray and colour images, not images of {images.shape[1]} channels.")
        if not images.is_floating_point():
            raise UsageError(f"Images must be floats in [0, 1], not {images.dtype}. Divide them by 255.")
        require_unit_range(images, "a batch of images")
        scale, seed = whole_number(scale, "scale", 1), seed_number(seed)
        if self.added is not None:
            if differentiable:
                raise UsageError(
                    f"No gradient passes through '{self}': it is an effect of the package {self.added.plugin}."
                )
            made = self.added.apply(images, scale, seed=seed, keys=keys, resampler=resampler, random=random)
            return round_to_8_bits(made)
        lowered = downsample(images if self.blur is None else self.blur.apply(images), scale, resampler)
        if self.noise is not None:
            source = random or KeyedRandom(image_keys(images) if keys is None else keys, seed)
            lowered = self.noise.apply(lowered, source)
        if self.jpeg is not None:
            code = self.jpeg.apply_differentiable if differentiable else self.jpeg.apply
            lowered = code(round_to_8_bits(lowered, differentiable))
        return round_to_8_bits(lowered, differentiable)


Degradations = str | Degradation | Iterable[str | Degradation] | None  # None is refused like an empty list


def round_to_8_bits(images: Tensor, differentiable: bool = False) -> Tensor:
    """Clip to [0, 1] and round to 256 levels; optionally with the gradient of the identity inside the range."""
    clipped = images.clamp(0, 1)
    rounded = (clipped * 255).round() / 255
    return clipped + (rounded - clipped).detach() if differentiable else rounded


def parse_degradations(texts: Degradations) -> dict[str, Degradation]:
    """Read several degradations (or one), keyed by their canonical names in the order given.

    Raises:
        UsageError: A degradation appears twice, or none is given.
    """
    parsed = [Degradation.parse(text) for text in as_list(() if texts is None else texts, Degradation)]
    names = [str(degradation) for degradation in parsed]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError(f"Degradation '{min(twice)}' is given twice. Leave one out.")
    if not names:
        raise UsageError(f"No degradation is given. Examples: {GRAMMAR}.")
    return dict(zip(names, parsed, strict=True))


def options_of(rest: str, legal: Collection[str], what: str, text: str) -> dict[str, str]:
    """Split what follows an effect's colon, ``4,sigma_y=1``, into its options; the first one needs no name.

    Args:
        rest: The text after the colon.
        legal: Names of the options that the effect has, in their order.
        what: The effect, as errors name it.
        text: The whole text, which errors quote.

    Raises:
        UsageError: An option is unknown, or given twice.
    """
    first, *others = rest.split(",")
    settings: dict[str, str] = {}
    for name, value in [(next(iter(legal)), first), *(tuple(other.partition("=")[::2]) for other in others)]:
        if name not in legal:
            raise unknown(f"option of {what}", name, legal)
        if name in settings:
            raise UsageError(f"Option '{name}' appears twice in '{text}'.")
        settings[name] = value
    return settings


def number_in(value: str, text: str, grammar: str = GRAMMAR, number: type[int] | type[float] = float) -> float:
    """Read one number of a written degradation.

    Raises:
        UsageError: It is not a number; the error quotes the whole text and the grammar.
    """
    try:
        return number(value)
    except ValueError:
        wanted = "whole number" if number is int else "number"
        raise UsageError(f"'{value}' in '{text}' is not a {wanted}. Written as: {grammar}.") from None


def _parse_added(text: str) -> Added | None:
    """Read an effect of another package; None where there is none."""
    parts = [each.strip() for each in re.split(r"\+(?!\d)", text)]
    named = [each.partition(":")[0] for each in parts]
    for name in named:
        refuse_clash(DEGRADATIONS, name, [*_EFFECTS, CLEAN])
    found = declared(DEGRADATIONS)
    if not any(name in found for name in named):
        return None
    plugin = next(found[name] for name in named if name in found)
    if len(parts) > 1:
        raise UsageError(f"Degradation '{text}' joins '{plugin.name}' of the package {plugin}, which stands alone.")
    rest = parts[0].partition(":")[2]
    legal = legal_options(plugin)
    if not rest:
        raise UsageError(f"Degradation '{text}' lacks its strength. Written as: {_grammar_of(plugin.name, legal)}.")
    settings = options_of(rest, legal, f"'{plugin.name}'", text)
    return added(plugin, {name: _value(each, legal, name, text, plugin.name) for name, each in settings.items()})


def _grammar_of(effect: str, legal: Collection[str]) -> str:
    strength, *others = legal
    return ",".join([f"{effect}:{strength.upper()}", *(f"{name}={name.upper()}" for name in others)])


def _value(value: str, legal: Mapping[str, Kind], name: str, text: str, effect: str) -> Any:
    """Read the value of an option of another package's effect."""
    kind, grammar = legal[name], _grammar_of(effect, legal)
    if kind is str:
        return value
    if kind is bool:
        if value.lower() not in ("true", "false"):
            raise UsageError(f"'{value}' in '{text}' is neither true nor false. Written as: {grammar}.")
        return value.lower() == "true"
    number = number_in(value, text, grammar, int if kind is int else float)
    if not math.isfinite(number):
        raise UsageError(f"'{value}' in '{text}' is not finite. Written as: {grammar}.")
    return number


def _parse_effect(part: str, text: str) -> Effect:
    effect, colon, rest = part.partition(":")
    if effect not in _EFFECTS:
        legal = [*_EFFECTS, *declared(DEGRADATIONS), CLEAN]
        raise UsageError(f"{unknown('degradation', effect or text, legal)} Written as: {GRAMMAR}.")
    make, options = _EFFECTS[effect]
    if not colon or not rest:
        raise UsageError(f"Degradation '{part}' lacks its strength. Written as: {GRAMMAR}.")
    settings = options_of(rest, options, f"'{effect}'", part)
    return make(**{name: number_in(value, part, GRAMMAR, options[name]) for name, value in settings.items()})
