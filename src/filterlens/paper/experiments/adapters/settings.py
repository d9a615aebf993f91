# SPDX-License-Identifier: Apache-2.0
"""What decides the page on adapters: shares of the filters, and how the re-trained ones are trained."""

from typing import Annotated

from pydantic import Field, field_validator

from filterlens.paper.settings import Percent, Positive, Settings

Percents = Annotated[tuple[Percent, ...], Field(min_length=1)]


class AdapterSettings(Settings):
    """Settings of the adapters.

    Attributes:
        pairs: At most so many of the common pairs, the first ones.
        percents: Shares of the filters that an adapter holds, for one degradation; 1 is among them.
        method: What finds them.
        retrained: Shares for which the filters are also re-trained in the baseline; may be none.
        iterations: Steps of every re-training.
        learning_rate: Its peak rate.
        batch: Patches a step.
        patch: Side of the HR patches in pixels.
        train_images: Train on at most so many of the training images, spread evenly.
        judge_images: Judge on at most so many images, spread evenly over the set.
    """

    pairs: Positive | None = None
    percents: Percents = (0.5, 1.0, 3.0, 5.0, 10.0)
    method: str = "faig"
    retrained: tuple[Percent, ...] = (1.0,)
    iterations: Positive = 1000
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-2
    batch: Positive = 16
    patch: Annotated[int, Field(ge=8)] = 64
    train_images: Positive | None = 100
    judge_images: Positive | None = None

    @field_validator("percents")
    @classmethod
    def _one_percent_is_there(cls, percents: tuple[float, ...]) -> tuple[float, ...]:
        if 1 not in percents:
            raise ValueError("1 must be among the percents: the claims are about 1 % of the filters")
        return percents
