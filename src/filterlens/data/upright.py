# SPDX-License-Identifier: Apache-2.0
"""Setting arrays upright as a file's orientation says, where Pillow has not done it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
ORIENTATION = 0x0112
UPRIGHT: dict[int, Callable[[Array], Array]] = {  # EXIF orientation → what sets (H, W, channels) upright
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
