# SPDX-License-Identifier: Apache-2.0
"""How fast a quantity grows with another."""

from collections.abc import Sequence

import numpy as np


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return p of the power law values ∝ sizesᵖ that fits best: the slope of log values over log sizes."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
