# SPDX-License-Identifier: Apache-2.0
"""The learning rate over a stage: linear warm-up, then cosine periods with restarts."""

import math

from filterlens.training.recipe import Stage


def learning_rate(stage: Stage, step: int) -> float:
    """Return the rate of step ``step`` (from 0)."""
    if step < stage.warmup:
        return stage.learning_rate * (step + 1) / stage.warmup
    period = stage.period or max(1, stage.iterations - stage.warmup)
    phase = ((step - stage.warmup) % period) / period
    swing = 0.5 * (1 + math.cos(math.pi * phase))
    return stage.final_learning_rate + (stage.learning_rate - stage.final_learning_rate) * swing
