# SPDX-License-Identifier: Apache-2.0
"""The test degradations of the two-branch papers, written as this package reads them."""

from filterlens.degradations.blur import GaussianBlur
from filterlens.errors import UsageError

GAUSSIAN8 = {2: (0.8, 1.6), 3: (1.35, 2.4), 4: (1.8, 3.2)}  # scale → least and greatest σ in HR pixels


def gaussian8(scale: int) -> list[str]:
    """Return the eight isotropic blurs (21 pixels wide) on which IKC and DAN are judged: σ in even steps.

    Source: Gu et al., CVPR 2019 ("Gaussian8"); Luo et al., NeurIPS 2020, setting 1.

    Example:
        >>> gaussian8(4)[:2], gaussian8(4)[-1]
        (['blur:1.8', 'blur:2'], 'blur:3.2')

    Raises:
        UsageError: The set is not defined at this scale.
    """
    if scale not in GAUSSIAN8:
        raise UsageError(f"Gaussian8 is not defined at scale = {scale}. Legal: {', '.join(map(str, GAUSSIAN8))}.")
    low, high = GAUSSIAN8[scale]
    return [str(GaussianBlur(round(low + (high - low) * step / 7, 6))) for step in range(8)]
