# SPDX-License-Identifier: Apache-2.0
"""Checks of pixels: inputs must be in [0, 1] and outputs finite; otherwise no figure is computed. And their luma."""

import torch
from torch import Tensor

from filterlens.errors import FilterlensError, UsageError

OVERSHOOT = 0.1  # that a resampler may leave beyond [0, 1]


class NotFiniteError(FilterlensError):
    """A network gives pixels that are no numbers.

    Args:
        evidence: Network or edit, number of such pixels, and place.
    """

    def __init__(self, evidence: str) -> None:
        super().__init__(
            f"{evidence[0].upper()}{evidence[1:]}. The network overflows: check its checkpoint, try "
            "--precision fp32, or replace other filters."
        )
        self.evidence = evidence


def require_unit_range(images: Tensor, what: str) -> tuple[float, float]:
    """Return the least and the greatest value of images in [0, 1], give or take the overshoot of a resampler.

    Args:
        images: ``(…, C, H, W)``, floats.
        what: Name of the images in errors, for example ``"image 'city'"``.

    Raises:
        UsageError: They are of another range, or hold NaN or infinity.
    """
    if not images.numel():
        return 0.0, 0.0
    low, high = (float(value) for value in images.detach().aminmax())
    if low >= -OVERSHOOT and high <= 1 + OVERSHOOT:
        return low, high
    name = f"{what[0].upper()}{what[1:]}"
    broken = ~images.isfinite()
    if broken.any():
        share = float(broken.any(-3).double().mean())
        raise UsageError(f"{name} holds NaN or infinity in {share:.2%} of the pixels. Leave it out or mend it.")
    is_8_bit = high > 4 and low >= -OVERSHOOT * 255 and high <= (1 + OVERSHOOT) * 255
    remedy = "Divide by 255" if is_8_bit else "Bring them to that range"
    raise UsageError(f"{name} has values from {low:.4g} to {high:.4g}, not in [0, 1]. {remedy}.")


def require_finite(output: Tensor, what: str, image: str | None = None, degradation: str | None = None) -> Tensor:
    """Return an output of which every value is finite.

    Args:
        output: ``(B, C, H, W)``.
        what: The network or edit that made it, as errors name it.
        image: Name of the image.
        degradation: Degradation of the input.

    Raises:
        NotFiniteError: NaN or infinity; the message gives the share of pixels.
    """
    finite = output.isfinite()
    if finite.all():
        return output
    share = float((~finite).any(-3).double().mean())
    where = "" if image is None else f" of image '{image}'" + ("" if degradation is None else f" with '{degradation}'")
    raise NotFiniteError(f"{what} gives NaN or infinity in {share:.2%} of the pixels{where}")


def luma(images: Tensor) -> Tensor:
    """Return the Y channel ``(B, 1, H, W)`` of BT.601 studio range, as MATLAB's ``rgb2ycbcr``, in [16/255, 235/255]."""
    weights = torch.tensor([65.481, 128.553, 24.966], device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    return ((images * weights).sum(1, keepdim=True) + 16) / 255
