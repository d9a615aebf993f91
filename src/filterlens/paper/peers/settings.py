# SPDX-License-Identifier: Apache-2.0
"""The settings of the two-branch networks and of the one-branch networks compared with them: sizes, stages, seeds."""

from typing import Annotated, Literal

from pydantic import Field

from filterlens.settings import Fraction, Positive, Settings
from filterlens.training.recipe import Contrast

LEVELS = 255  # of an 8-bit image


class Steps(Settings):
    """One training stage, the same for every arm.

    Attributes:
        iterations: Optimiser steps that train the restored image. The contrast's own steps come on top.
        learning_rate: Peak rate of Adam.
        warmup: Steps of linear warm-up.
        period: Steps of one cosine period; 0 is one period over the whole stage.
    """

    iterations: Positive
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    warmup: Annotated[int, Field(ge=0)] = 0
    period: Annotated[int, Field(ge=0)] = 0


class PeerSettings(Settings):
    """The arms of the comparison and how all of them are trained.

    Attributes:
        scale: Scale of all networks.
        seeds: Number of target models per arm and setting; None takes ``targets`` of the common settings.
        shared_baseline: One baseline per arm, from which all its target models are fine-tuned; else one per seed.
        dan: Options of DAN other than the scale; empty is the published size.
        dasr: Options of DASR other than the scale; empty is the published size.
        baseline: The stage on clean inputs.
        target: The stage on the degradations of a setting.
        contrast: Training of DASR's encoder: steps on top of the stages.
        batch: Patches a step.
        patch: Side of the HR patches in pixels.
        ema: Decay of the moving average of the weights, which is saved: its memory, 1 / (1 - ema) steps, must be
            short compared with the stages.
        checkpoint_every: Steps between checkpoints from which a killed training resumes.
        training_noise: Largest noise in training, in levels of 255; drawn uniformly up to it.
        test_noise: Noise in tests, in levels of 255, where a setting has noise.
    """

    scale: Literal[2, 4] = 2
    seeds: Positive | None = None
    shared_baseline: bool = True
    dan: dict[str, int] = Field(default={"features": 32, "blocks": 8, "estimator_blocks": 1})
    dasr: dict[str, int] = Field(default={"features": 32, "groups": 1, "blocks": 5})
    baseline: Steps = Steps(iterations=3000, learning_rate=1e-3, warmup=100)
    target: Steps = Steps(iterations=6000, learning_rate=1e-3, warmup=100)
    contrast: Contrast = Contrast(target_iterations=3000, learning_rate=3e-4, queue=512)
    batch: Positive = 16
    patch: Annotated[int, Field(ge=16)] = 64
    ema: Fraction = 0.999
    checkpoint_every: Positive = 200
    training_noise: Annotated[float, Field(gt=0, le=LEVELS)] = 25
    test_noise: Annotated[float, Field(gt=0, le=LEVELS)] = 15
