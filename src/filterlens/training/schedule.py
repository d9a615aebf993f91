# SPDX-License-Identifier: Apache-2.0
"""The learning rate over a stage: linear warm-up, then cosine periods with restarts."""

import math

from filterlens.training.recipe import Contrast, Stage


def learning_rate(stage: Stage, step: int) -> float:
    """Return the rate of step ``step`` (from 0)."""
    return _cosine(stage, stage.iterations, step)


def learning_rate_of_phases(stage: Stage, contrast: Contrast, role: str, step: int) -> float:
    """Return the rate where the first steps train DASR's encoder alone: a cosine of their own, then the stage's."""
    alone: int = getattr(contrast, f"{role}_iterations")
    if step >= alone:
        return _cosine(stage, stage.iterations - alone, step - alone)
    changes = {"learning_rate": contrast.learning_rate, "warmup": 0, "period": 0}
    return _cosine(stage.model_copy(update=changes), alone, step)


def _cosine(stage: Stage, iterations: int, step: int) -> float:
    if step < stage.warmup:
        return stage.learning_rate * (step + 1) / stage.warmup
    period = stage.period or max(1, iterations - stage.warmup)
    phase = ((step - stage.warmup) % period) / period
    swing = 0.5 * (1 + math.cos(math.pi * phase))
    return stage.final_learning_rate + (stage.learning_rate - stage.final_learning_rate) * swing
