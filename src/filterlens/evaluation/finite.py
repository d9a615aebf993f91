# SPDX-License-Identifier: Apache-2.0
"""Outputs that are numbers: an overflow is told, not averaged into a table."""

from torch import Tensor

from filterlens.errors import FilterlensError


def require_finite(output: Tensor, what: str, image: str | None = None, degradation: str | None = None) -> Tensor:
    """Return an output of which every value is finite.

    Args:
        output: ``(B, C, H, W)``.
        what: Which network or edit made it, as errors say it.
        image: Name of the image.
        degradation: Of the input.

    Raises:
        FilterlensError: NaN or infinity; the share of pixels that have it is told.
    """
    finite = output.isfinite()
    if finite.all():
        return output
    share = float((~finite).any(-3).double().mean())
    where = "" if image is None else f" of image '{image}'" + ("" if degradation is None else f" with '{degradation}'")
    raise FilterlensError(
        f"{what[0].upper()}{what[1:]} gives NaN or infinity in {share:.2%} of the pixels{where}. The network "
        "overflows: check its checkpoint, try --precision fp32, or replace other filters."
    )
