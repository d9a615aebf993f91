# SPDX-License-Identifier: Apache-2.0
"""What may be set of a judging; on its own, so that the command can explain itself without loading PyTorch."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from filterlens.arguments import percentage
from filterlens.settings import Settings, Shown, Whole


class MaskSettings(Settings):
    """What decides a judging, next to the run and the images.

    Attributes:
        percents: Share of the filters to replace, in percent; repeat it.
        controls: Judge changed and random filters too, for comparison.
        pictures: Number of images whose pictures are kept for the report.
        precision: ``fp32``, ``bf16`` or ``auto``; the judge rounds nothing away by default.
        strict: Stop at the first image that cannot be used; else it is left out, and ``mask.json`` says so.
    """

    percents: Annotated[
        tuple[Annotated[float, BeforeValidator(percentage)], ...], Field(min_length=1), Shown("1 3 5 10", "--percent")
    ] = (1, 3, 5, 10)
    controls: bool = True
    pictures: Annotated[Whole, Field(ge=0)] = 2
    precision: str = "fp32"
    strict: bool = False
