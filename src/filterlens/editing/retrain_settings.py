# SPDX-License-Identifier: Apache-2.0
"""The settings of a re-training, checked before it starts."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from filterlens.settings import Fraction, Seed, Settings, Shown
from filterlens.training.recipe import BatchSize, Rate, SomeSteps, Stage

if TYPE_CHECKING:
    from filterlens.degradations import Degradation, Mixture


class RetrainSettings(Stage):
    """A training stage on its own, with everything that decides its numbers; :func:`settings_for` makes it.

    Attributes:
        learning_rate: Peak rate of Adam. A small part of the weights tolerates ten times the rate of all of them.
        resampler: ``bicubic`` (antialiased, the default protocol) or ``bilinear`` (the reference's).
        patch: Side of the HR patches in pixels; a multiple of the pair's scale.
        batch: Patches a step.
        betas: Adam's decay rates.
        ema: Decay of the moving average of the trained weights; the average is the result. 0 means none: with a rate
            that ends near zero, a short training gains nothing from it.
        seed: Seed of patches, degradations and random starts. Trainings with one seed see the same batches.
        log_every: Steps between entries of the loss.
        checkpoint_every: Steps between states from which a killed training resumes; there is one at least every three
            minutes.
    """

    learning_rate: Rate = 3e-3
    resampler: Literal["bicubic", "bilinear"] = "bicubic"
    patch: Annotated[int, Field(ge=8, le=8192)] = 64
    batch: BatchSize = 16
    betas: tuple[Fraction, Fraction] = (0.9, 0.99)
    ema: Fraction = 0.0
    seed: Seed = 0
    log_every: SomeSteps = 50
    checkpoint_every: SomeSteps = 500

    @property
    def mixture(self) -> "Mixture":
        """The degradations of the patches."""
        from filterlens.degradations import Mixture

        return Mixture.of(self.degradations, self.resampler)


_USUAL = {name: field.default for name, field in RetrainSettings.model_fields.items()}


class RetrainOptions(Settings):
    """The options of ``filterlens retrain``; all other settings keep the defaults of :class:`RetrainSettings`.

    Attributes:
        iterations: Training steps.
        percent: Share of the filters to train, in percent.
        part: Weights to train: found; random, last-layers or low-rank (as many weights as found has); or all.
        found_for: Another degradation, whose found filters are trained.
        learning_rate: Peak rate of Adam; a tenth suits --part all.
        batch: Patches a step.
        patch: Side of the HR patches in pixels.
        seed: Seed of noise and random choices; the same seed gives the same result.
    """

    iterations: SomeSteps = 2000
    percent: Annotated[float, Field(allow_inf_nan=True)] = 1.0
    part: str = "found"
    found_for: Annotated[str | None, Shown("the same")] = None
    learning_rate: float = _USUAL["learning_rate"]
    batch: int = _USUAL["batch"]
    patch: int = _USUAL["patch"]
    seed: int = _USUAL["seed"]

    def settings(self, degradation: str) -> RetrainSettings:
        """Return the settings of a re-training on a degradation, with a short warm-up.

        Raises:
            UsageError: An unknown degradation, or an illegal value.
        """
        return settings_for(
            degradation,
            iterations=self.iterations,
            learning_rate=self.learning_rate,
            batch=self.batch,
            patch=self.patch,
            seed=self.seed,
            warmup=min(100, self.iterations // 10),
        )


def settings_for(degradation: "str | Degradation | Mixture", *, iterations: int, **settings: Any) -> RetrainSettings:
    """Check the settings of a re-training.

    Args:
        degradation: Degradation of every patch (all effects of ``blur:2+noise:0.1``), or a mixture with its coins.
        iterations: Optimiser steps.
        **settings: Fields of :class:`RetrainSettings`; those that are None keep their default.

    Raises:
        UsageError: Unknown degradation or setting (with the nearest legal name), or an illegal value.
    """
    from filterlens.degradations import Mixture

    given = {name: value for name, value in settings.items() if value is not None}
    given["degradations"] = _coins(degradation)
    if isinstance(degradation, Mixture):
        given.setdefault("resampler", degradation.resampler)
    return RetrainSettings.of(given | {"iterations": iterations}, "Re-training")


def _coins(degradation: "str | Degradation | Mixture") -> tuple[tuple[str, float], ...]:
    """Return a mixture's coins; the effects of a single degradation have probability 1."""
    from filterlens.degradations import Degradation, Mixture

    if isinstance(degradation, Mixture):
        return tuple((str(coin.degradation), coin.probability) for coin in degradation.coins)
    chain = Degradation.parse(degradation)
    return tuple((str(effect), 1.0) for effect in chain.effects)
