# SPDX-License-Identifier: Apache-2.0
"""Trainings in one process must not see each other."""

from collections.abc import Iterator

import pytest
from accelerate.state import AcceleratorState


@pytest.fixture(autouse=True)
def _fresh_accelerator() -> Iterator[None]:
    """Accelerate keeps its state in class variables: forget it after each test."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
