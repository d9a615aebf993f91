# SPDX-License-Identifier: Apache-2.0
"""The test degradations of the two-branch papers."""

import numpy as np
import pytest

from filterlens.degradations import Degradation, GaussianBlur
from filterlens.degradations.peer_settings import gaussian8
from filterlens.errors import UsageError


@pytest.mark.parametrize(("scale", "low", "high"), [(2, 0.8, 1.6), (3, 1.35, 2.4), (4, 1.8, 3.2)])
def test_gaussian8_are_eight_round_blurs_in_even_steps(scale: int, low: float, high: float) -> None:
    blurs = [Degradation.parse(text).blur for text in gaussian8(scale)]
    assert all(isinstance(blur, GaussianBlur) and blur.is_isotropic and blur.kernel == 21 for blur in blurs)
    sigmas = [blur.sigma for blur in blurs if isinstance(blur, GaussianBlur)]
    np.testing.assert_allclose(sigmas, np.linspace(low, high, 8), rtol=0, atol=1e-6)


def test_gaussian8_at_4_is_written_as_one_would_write_it() -> None:
    assert gaussian8(4) == [f"blur:{sigma}" for sigma in ("1.8", "2", "2.2", "2.4", "2.6", "2.8", "3", "3.2")]


def test_gaussian8_is_refused_at_other_scales() -> None:
    with pytest.raises(UsageError, match=r"scale = 8.*2, 3, 4"):
        gaussian8(8)
