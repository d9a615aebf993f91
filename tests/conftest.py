# SPDX-License-Identifier: Apache-2.0
"""What many tests share: one thread, so that equal means bit-identical, and a photograph to work on."""

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from filterlens.data.photographs import photograph as shipped

# a first call may import for a quarter of a second: no test measures time
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def photograph() -> Tensor:
    """A photograph ``(1, 3, 96, 120)`` in [0, 1], free to use: Eileen Collins by NASA."""
    return shipped("astronaut")[:, 60:156, 170:290].unsqueeze(0).float() / 255


@pytest.fixture
def noise_images() -> list[Tensor]:
    """Three small RGB images of random pixels, uint8, of different sizes."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((40, 50), (33, 64), (48, 34))
    return [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes]
