# SPDX-License-Identifier: Apache-2.0
"""What decides the page on one branch against two, beside the networks themselves (``common.peers``)."""

from typing import Annotated, Literal

from pydantic import Field

from filterlens.paper.settings import Positive, Settings


class BranchesSettings(Settings):
    """Settings of the comparison.

    Attributes:
        margin: Differences of less count as none, in dB.
        channel: ``y`` or ``rgb``: in which PSNR is compared; the other one is shown beside it.
        judge_images: Judge on at most so many images, spread evenly over the set.
        probe_images: Fit the probe of DASR's encoder on at most so many of the training images, spread evenly.
        probe_patch: Side of the squares that the encoder sees, in HR pixels.
        probe_squares: Squares out of every image.
    """

    margin: Annotated[float, Field(gt=0)] = 0.1
    channel: Literal["y", "rgb"] = "y"
    judge_images: Positive | None = None
    probe_images: Positive = 40
    probe_patch: Annotated[int, Field(ge=32)] = 96
    probe_squares: Positive = 4
