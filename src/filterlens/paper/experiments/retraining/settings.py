# SPDX-License-Identifier: Apache-2.0
"""What decides the page on re-training: which filters, how long, at which learning rates, on which images."""

from typing import Annotated

from pydantic import Field, field_validator

from filterlens.paper.settings import Percent, Positive, Settings

Rate = Annotated[float, Field(gt=0, le=1)]
RateGrid = Annotated[tuple[Rate, ...], Field(min_length=1)]
OTHERS = ("last-layers", "low-rank")


class Rates(Settings):
    """Peak learning rates that are tried, for each kind of trained part.

    Attributes:
        filters: For chosen filters, wherever they lie.
        low_rank: For the low-rank adapter.
        all: For all filters.
    """

    filters: RateGrid = (1e-3, 3e-3, 1e-2, 3e-2)
    low_rank: RateGrid = (1e-3, 3e-3, 1e-2, 3e-2)
    all: RateGrid = (3e-4, 1e-3, 3e-3)


class RetrainingSettings(Settings):
    """Settings of the re-training.

    Attributes:
        pairs: At most so many of the common pairs, the first ones.
        percent: Share of the filters that is trained.
        methods: What finds the locations; FAIG is among them.
        others: What else is trained with as many weights.
        seeds: Trainings of every arm; the n-th one is of the n-th target model, beginning anew where there are fewer.
        rates: Learning rates; where there are several, every arm gets the one that is best on held-out training images.
        search: Steps of the trainings that choose the rate; None: as many as the trainings themselves.
        iterations: Steps of every training.
        batch: Patches a step.
        patch: Side of the HR patches in pixels.
        train_images: Train on at most so many of the training images, spread evenly.
        held_out: Side of the squares that are cut off the training images to choose the rate on, in HR pixels.
        held_out_images: Cut off at most so many of them.
        judge_images: Judge on at most so many images, spread evenly over the set.
    """

    pairs: Positive | None = 1
    percent: Percent = 1.0
    methods: tuple[str, ...] = ("faig", "ig", "change-relative", "change-absolute", "random")
    others: tuple[str, ...] = OTHERS
    seeds: Positive = 3
    rates: Rates = Rates()
    search: Positive | None = 250
    iterations: Positive = 1000
    batch: Positive = 16
    patch: Annotated[int, Field(ge=8)] = 64
    train_images: Positive | None = 100
    held_out: Annotated[int, Field(ge=8)] = 128
    held_out_images: Positive = 16
    judge_images: Positive | None = None

    @field_validator("methods")
    @classmethod
    def _faig_is_there(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        if "faig" not in methods:
            raise ValueError("'faig' must be among the methods: all others are set against it")
        return methods

    @field_validator("others")
    @classmethod
    def _others_are_known(cls, others: tuple[str, ...]) -> tuple[str, ...]:
        for name in others:
            if name not in OTHERS:
                raise ValueError(f"'{name}' is none of {', '.join(OTHERS)}")
        return others
