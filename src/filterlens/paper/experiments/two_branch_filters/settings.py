# SPDX-License-Identifier: Apache-2.0
"""Settings of the page on the filters of two-branch networks."""

from typing import Literal

from filterlens.paper.settings import Percent, Positive, Settings


class TwoBranchSettings(Settings):
    """What is looked into, and how long.

    Attributes:
        peers: The two-branch networks; those of the settings with blur and noise.
        compare: Also look into the one-branch network of equal computation.
        percents: Shares of the filters that are counted; the smallest is replaced.
        draws: Of the images, each ranked anew, for the intervals of the shares.
        all_parameters_images: On how many of the images all parameters are attributed; None: on all.
        judge_images: How many images are judged; None: all.
    """

    peers: tuple[Literal["dan", "dasr"], ...] = ("dan", "dasr")
    compare: bool = True
    percents: tuple[Percent, ...] = (1.0, 5.0)
    draws: Positive = 400
    all_parameters_images: Positive | None = None
    judge_images: Positive | None = None
