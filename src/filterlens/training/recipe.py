# SPDX-License-Identifier: Apache-2.0
"""Training recipes: all settings that decide the trained weights, read from TOML; unknown settings are refused."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer

from filterlens.errors import UsageError, unknown
from filterlens.settings import Fraction, Real, Seed, Settings, Whole, read_recipe, short, shown

if TYPE_CHECKING:
    from filterlens.degradations import Mixture

MOST_STEPS = 10**9
MOST_OF_AN_OPTION = {"kernel": 65, "code": 256}  # DAN decomposes 30,000 kernels of that width
LARGEST_OPTION = 4096


def _name(value: str) -> str:
    """Refuse names that cannot name a folder, or that hold control characters."""
    if not value.isprintable() or set(value) & set("/\\") or not value.strip(" ."):
        raise ValueError("a name of printable characters without / and \\ is expected")
    return value


def _architecture(value: Any) -> str:
    """Refuse what is neither a network of filterlens nor, with a colon, the name of a foreign one."""
    from filterlens.models.architectures import ARCHITECTURES

    if not isinstance(value, str) or (value not in ARCHITECTURES and ":" not in value):
        raise unknown("architecture", short(value) if isinstance(value, str) else shown(value), ARCHITECTURES)
    return value


def _architectures(schema: dict[str, Any]) -> None:
    """Let a JSON schema list the networks of filterlens."""
    from filterlens.models.architectures import ARCHITECTURES

    schema["anyOf"] = [{"enum": list(ARCHITECTURES)}, {"pattern": ":"}]


Steps = Annotated[Whole, Field(ge=0, le=MOST_STEPS)]
SomeSteps = Annotated[Whole, Field(ge=1, le=MOST_STEPS)]
Rate = Annotated[Real, Field(gt=0, le=1)]
BatchSize = Annotated[Whole, Field(ge=1, le=65_536)]
Architecture = Annotated[str, BeforeValidator(_architecture), Field(max_length=300, json_schema_extra=_architectures)]


class Stage(Settings):
    """One training stage: baseline or target.

    Attributes:
        iterations: Optimiser steps.
        learning_rate: Peak rate of Adam.
        final_learning_rate: Rate at the end of the cosine.
        warmup: Steps of linear warm-up.
        period: Steps of one cosine period; 0 means one period over the whole stage.
        degradations: Coins ``[degradation, probability]`` that fall independently on every sample; a degradation may
            be a range, ``blur:0.2..4``, from which every sample draws its own. Empty means clean.
    """

    iterations: SomeSteps
    learning_rate: Rate
    final_learning_rate: Rate = 1e-7
    warmup: Steps = 0
    period: Steps = 0
    degradations: Annotated[tuple[tuple[Annotated[str, Field(max_length=200)], Real], ...], Field(max_length=64)] = ()

    def rate(self, step: int, iterations: int | None = None) -> float:
        """Return the learning rate of a step: a linear warm-up, then cosine periods with restarts.

        Args:
            step: Index of the step, from 0.
            iterations: Steps over which it falls; by default the stage's.
        """
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        period = self.period or max(1, (iterations or self.iterations) - self.warmup)
        phase = ((step - self.warmup) % period) / period
        swing = 0.5 * (1 + math.cos(math.pi * phase))
        return self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * swing


class Contrast(Settings):
    """How DASR's encoder learns to tell degradations apart: momentum contrast (He et al. 2020, MoCo).

    Attributes:
        baseline_iterations: First steps of the baseline's stage, which train the encoder alone.
        target_iterations: First steps of the target's stage, likewise (published: a sixth of all steps).
        learning_rate: Peak rate of these steps.
        weight: Factor of the contrast, which all other steps add to L1; published as 1 with L1 on 0 … 255, here 1/255.
        queue: Number of keys that are kept as negatives.
        momentum: Share of its own weights that the key encoder keeps at a step.
        temperature: Divisor of the logits in the softmax.
    """

    baseline_iterations: Steps = 0
    target_iterations: Steps = 0
    learning_rate: Rate = 1e-3
    weight: Annotated[Real, Field(ge=0, le=1e6)] = 1 / 255
    queue: Annotated[Whole, Field(ge=1, le=1_048_576)] = 8192
    momentum: Fraction = 0.999
    temperature: Annotated[Real, Field(ge=1e-4, le=1e4)] = 0.07


class Recipe(Settings):
    """Everything that decides the weights of a baseline and of the target fine-tuned from it.

    Attributes:
        name: Name of the recipe on the card of the trained networks.
        architecture: A network of filterlens, for example ``srresnet``; for a given baseline also
            ``spandrel:NAME``, as spandrel recognised it, or your own code, ``package.module:factory``.
        network: Options of the architecture other than the scale, for example ``{features = 32, blocks = 8}``.
        scale: 2, 3 or 4; 1 for networks that keep the size, as ``dncnn`` does.
        resampler: ``bicubic`` (antialiased, the default protocol) or ``bilinear`` (the reference's).
        patch: Side of the HR patches in pixels; a multiple of ``scale``.
        batch: Patches a step, over all processes together.
        betas: Adam's decay rates.
        ema: Decay of the exponential moving average of the weights; the average is saved.
        start: ``random``, or ``identity``: a network without a global skip starts close to nearest-neighbour
            upsampling, which short schedules need; networks with a global skip start close to it anyway.
        contrast: DASR's contrast; None takes the defaults.
        seed: Seed of initial weights, patches and degradations.
        validate_every: Steps between validations; 0 means only at the end of a stage.
        checkpoint_every: Steps between checkpoints from which a killed training resumes; there is one at least every
            three minutes.
        baseline: Stage on clean inputs.
        target: Stage on degraded inputs, which starts from the baseline's weights.
    """

    name: Annotated[str, Field(max_length=100), AfterValidator(_name)]
    architecture: Architecture = "srresnet"
    network: dict[str, Whole] = Field(default_factory=dict)
    scale: Literal[1, 2, 3, 4] = 2
    resampler: Literal["bicubic", "bilinear"] = "bicubic"
    patch: Annotated[Whole, Field(ge=16, le=8192)] = 64
    batch: BatchSize = 16
    betas: tuple[Fraction, Fraction] = (0.9, 0.99)
    ema: Fraction = 0.999
    start: Literal["random", "identity"] = "random"
    contrast: Contrast | None = None
    seed: Seed = 0
    validate_every: Steps = 1000
    checkpoint_every: SomeSteps = 500
    baseline: Stage
    target: Stage

    @property
    def is_foreign(self) -> bool:
        """Whether the architecture is not one of filterlens: it cannot be built here, only taken from a checkpoint."""
        from filterlens.models.architectures import ARCHITECTURES

        return self.architecture not in ARCHITECTURES

    @property
    def options(self) -> dict[str, int]:
        """The options with which the architecture is built."""
        return {"scale": self.scale} | self.network

    def rate(self, role: str, step: int) -> float:
        """Return the learning rate of a step of a stage; the steps that train DASR's encoder alone have their own."""
        stage: Stage = getattr(self, role)
        if self.architecture != "dasr":
            return stage.rate(step)
        contrast = self.contrast or Contrast()
        alone: int = getattr(contrast, f"{role}_iterations")
        if step >= alone:
            return stage.rate(step - alone, stage.iterations - alone)
        first = stage.model_copy(update={"learning_rate": contrast.learning_rate, "warmup": 0, "period": 0})
        return first.rate(step, alone)

    def mixture(self, stage: Stage) -> "Mixture":
        """Return the degradation mixture of a stage."""
        from filterlens.degradations import Mixture

        return Mixture.of(stage.degradations, self.resampler)

    @model_serializer(mode="wrap")
    def _without_what_is_not_used(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out settings of other architectures: the cards and fingerprints of older trainings lack them."""
        settings: dict[str, Any] = write(self)
        return {key: value for key, value in settings.items() if key not in ("network", "contrast") or value}


def load_recipe(name: str | Path, **changes: Any) -> Recipe:
    """Read a shipped recipe by name, or a TOML file by path; ``changes`` that are not None replace settings.

    Raises:
        UsageError: Unknown recipe, unknown setting (with the nearest legal name), or an illegal value.
        FilterlensError: The file cannot be read or is not TOML.
    """
    from filterlens.models.user_module import is_factory, not_named

    settings = read_recipe(name, "training")
    own = settings.get("architecture")
    if isinstance(own, str) and is_factory(own) and changes.get("architecture") is None:
        raise UsageError(f"Recipe '{name}' names code of its own. {not_named(own, '--from CHECKPOINT ')}")
    settings.update({key: value for key, value in changes.items() if value is not None})
    return validated(settings, str(name))


def with_target(recipe: Recipe, degradations: Sequence[str] = (), iterations: int | None = None) -> Recipe:
    """Return the recipe with another target stage.

    Args:
        recipe: Recipe to change.
        degradations: Degradations that the target learns, each on half of the samples; an empty sequence keeps the
            recipe's, and ``clean`` alone means none.
        iterations: Steps of the target; None keeps the recipe's.

    Raises:
        UsageError: A degradation or the number is not legal.
    """
    settings = recipe.model_dump()
    if degradations:
        settings["target"]["degradations"] = [(text, 0.5) for text in degradations if list(degradations) != ["clean"]]
    if iterations is not None:
        settings["target"]["iterations"] = iterations
        settings["target"]["warmup"] = min(recipe.target.warmup, iterations // 10)
    return validated(settings, recipe.name)


def validated(settings: dict[str, Any], source: str) -> Recipe:
    """Check settings into a recipe; errors quote the value and the nearest legal name."""
    recipe = Recipe.of(settings, f"Recipe '{source}'")
    _check_network(recipe, source)
    if recipe.contrast is not None and recipe.architecture != "dasr":
        raise UsageError(f"Recipe '{source}': contrast is a setting of dasr, not of {recipe.architecture}.")
    if recipe.patch % recipe.scale:
        raise UsageError(f"Recipe '{source}': patch = {recipe.patch} is not a multiple of scale = {recipe.scale}.")
    for stage in (recipe.baseline, recipe.target):
        _check_blurs_fit(recipe, stage, source)
    return recipe


def _check_network(recipe: Recipe, source: str) -> None:
    if recipe.is_foreign:
        if recipe.network:
            raise UsageError(f"Recipe '{source}': network has no meaning for {recipe.architecture}: it is taken over.")
        return
    from filterlens.models.architectures import check_options, keeps_size

    check_options(recipe.architecture, recipe.network)
    for option, value in recipe.network.items():
        most = MOST_OF_AN_OPTION.get(option, LARGEST_OPTION)
        if not 1 <= value <= most:
            raise UsageError(f"Recipe '{source}': network.{option} = {shown(value)} is not legal: 1 to {most}.")
    if (recipe.scale == 1) != keeps_size(recipe.architecture):
        legal = "1" if keeps_size(recipe.architecture) else "2, 3 or 4"
        raise UsageError(f"Recipe '{source}': scale = {recipe.scale}: {recipe.architecture} has scale {legal}.")


def _check_blurs_fit(recipe: Recipe, stage: Stage, source: str) -> None:
    """Refuse now a blur that would otherwise stop the training hours later, at the first blurred patch."""
    widest, coded = recipe.mixture(stage).blur_width, recipe.network.get("kernel", 21)
    if recipe.architecture == "dan" and widest is not None and widest > coded:
        raise UsageError(
            f"Recipe '{source}': DAN's codes are of kernels {coded} wide, but the degradations need {widest}. "
            f"Give network.kernel = {widest}, or narrower blurs (blur:…,kernel={coded})."
        )
    for coin in recipe.mixture(stage).coins:
        width = coin.blur_width
        if width is not None and width // 2 >= recipe.patch:
            raise UsageError(
                f"Recipe '{source}': patch = {recipe.patch} is too small for '{coin.degradation}': "
                f"a kernel of {width} needs patches above {width // 2} pixels."
            )
