# SPDX-License-Identifier: Apache-2.0
"""The settings of ``filterlens mask``, in a module of their own, so that its help needs no PyTorch."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from filterlens.arguments import percentage
from filterlens.settings import Settings, Shown, Whole


class MaskSettings(Settings):
    """Settings that decide how filters are judged, next to the run and the images.

    Attributes:
        percents: Share of the filters to replace, in percent; repeat it.
        controls: Judge the most changed and random filters too, for comparison.
        pictures: Number of images whose pictures are kept for the report.
        precision: ``fp32``, ``bf16`` or ``auto``.
        strict: Stop at the first image that cannot be used; otherwise it is left out and named in ``mask.json``.
    """

    percents: Annotated[
        tuple[Annotated[float, BeforeValidator(percentage)], ...], Field(min_length=1), Shown("1 3 5 10", "--percent")
    ] = (1, 3, 5, 10)
    controls: bool = True
    pictures: Annotated[Whole, Field(ge=0)] = 2
    precision: str = "fp32"
    strict: bool = False
