# SPDX-License-Identifier: Apache-2.0
"""A recipe says everything that decides the trained weights; it is read from TOML and refuses unknown settings."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from filterlens.degradations import Mixture
from filterlens.errors import FilterlensError, UsageError, unknown
from filterlens.models.architectures import ARCHITECTURES

Fraction = Annotated[float, Field(ge=0, lt=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(_Settings):
    """One training stage: baseline or target.

    Attributes:
        iterations: Optimiser steps.
        learning_rate: Peak rate of Adam.
        final_learning_rate: Where the cosine ends.
        warmup: Steps of linear warm-up.
        period: Steps of one cosine period; 0 means one period over the whole stage.
        degradations: Coins ``[degradation, probability]`` that fall independently on every sample; empty means clean.
    """

    iterations: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    final_learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-7
    warmup: Annotated[int, Field(ge=0)] = 0
    period: Annotated[int, Field(ge=0)] = 0
    degradations: tuple[tuple[str, float], ...] = ()


class Recipe(_Settings):
    """Everything that decides the weights of a baseline and of the target fine-tuned from it.

    Attributes:
        name: What the card of the trained networks calls it.
        architecture: ``srresnet`` or ``srcnn-style``.
        scale: 2, 3 or 4.
        resampler: ``bicubic`` (antialiased, the default protocol) or ``bilinear`` (the reference's).
        patch: Side of the HR patches in pixels; a multiple of ``scale``.
        batch: Patches a step, over all processes together.
        betas: Adam's decay rates.
        ema: Decay of the exponential moving average of the weights; the average is what is saved.
        start: ``random``, or ``identity``: a plain network begins near nearest-neighbour upsampling, which short
            schedules need; networks with a global skip begin there anyway.
        seed: Decides initial weights, patches and degradations.
        validate_every: Steps between validations; 0 means only at the end of a stage.
        checkpoint_every: Steps between checkpoints from which a killed training goes on.
        baseline: The stage on clean inputs.
        target: The stage on degraded inputs, from the baseline's weights.
    """

    name: str
    architecture: Literal["srresnet", "srcnn-style"] = "srresnet"
    scale: Literal[2, 3, 4] = 2
    resampler: Literal["bicubic", "bilinear"] = "bicubic"
    patch: Annotated[int, Field(ge=16)] = 64
    batch: Annotated[int, Field(ge=1)] = 16
    betas: tuple[Fraction, Fraction] = (0.9, 0.99)
    ema: Fraction = 0.999
    start: Literal["random", "identity"] = "random"
    seed: int = 0
    validate_every: Annotated[int, Field(ge=0)] = 1000
    checkpoint_every: Annotated[int, Field(ge=1)] = 500
    baseline: Stage
    target: Stage

    def mixture(self, stage: Stage) -> Mixture:
        """Return the degradation mixture of a stage."""
        return Mixture.of(stage.degradations, self.resampler)


def shipped_recipes() -> list[str]:
    """Return the names of the recipes inside the package."""
    folder = resources.files("filterlens.training") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(name: str | Path, **changes: Any) -> Recipe:
    """Read a shipped recipe by name, or a TOML file by path; ``changes`` that are not None replace settings.

    Raises:
        UsageError: Unknown recipe, unknown setting (with the nearest legal name), or an illegal value.
        FilterlensError: The file cannot be read or is no TOML.
    """
    path = Path(name)
    if path.suffix == ".toml":
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise FilterlensError(f"Cannot read recipe '{path}': {error.strerror or error}.") from error
        except UnicodeDecodeError as error:
            raise FilterlensError(f"Recipe '{path}' is not text in UTF-8 ({error}).") from error
    elif str(name) in shipped_recipes():
        text = (resources.files("filterlens.training") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    else:
        raise UsageError(f"{unknown('recipe', str(name), shipped_recipes())} Or give a path to a .toml file.")
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FilterlensError(f"Recipe '{name}' is not valid TOML: {error}.") from error
    settings.update({key: value for key, value in changes.items() if value is not None})
    return validated(settings, str(name))


def validated(settings: dict[str, Any], source: str) -> Recipe:
    """Check settings into a recipe; errors quote the value and the nearest legal name."""
    architecture = str(settings.get("architecture", "srresnet"))
    if architecture not in ARCHITECTURES:
        raise unknown("architecture", architecture, ARCHITECTURES)
    try:
        recipe = Recipe.model_validate(settings)
    except ValidationError as error:
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")  # a typo explains the rest
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            legal = Stage.model_fields if len(first["loc"]) > 1 else Recipe.model_fields
            raise UsageError(f"Recipe '{source}': {unknown('setting', str(first['loc'][-1]), legal)}") from None
        if first["type"] == "missing":
            raise UsageError(f"Recipe '{source}': {place} is missing.") from None
        raise UsageError(f"Recipe '{source}': {place} = {first.get('input')!r}: {first['msg']}.") from None
    if recipe.patch % recipe.scale:
        raise UsageError(f"Recipe '{source}': patch = {recipe.patch} is not a multiple of scale = {recipe.scale}.")
    for stage in (recipe.baseline, recipe.target):
        _check_blurs_fit(recipe, stage, source)
    return recipe


def _check_blurs_fit(recipe: Recipe, stage: Stage, source: str) -> None:
    """Refuse now what would otherwise stop the training hours later, at the first blurred patch."""
    for coin in recipe.mixture(stage).coins:
        blur = coin.degradation.blur
        if blur is not None and blur.kernel // 2 >= recipe.patch:
            raise UsageError(
                f"Recipe '{source}': patch = {recipe.patch} is too small for '{blur}': "
                f"a kernel of {blur.kernel} needs patches above {blur.kernel // 2} pixels."
            )
