# SPDX-License-Identifier: Apache-2.0
"""The code of a kernel is its projection on the principal directions, which numpy finds too."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor

from filterlens.degradations import BlurRange
from filterlens.degradations.kernel_code import kernel_basis, principal_directions
from filterlens.errors import UsageError

ISOTROPIC = BlurRange((0.2, 4))
ANISOTROPIC = BlurRange((0.2, 4), (0.2, 4), (0, 180))
SAMPLES = 5000


def drawn(blur: BlurRange, count: int, seed: int) -> Tensor:
    return blur.draw(count, torch.Generator().manual_seed(seed), torch.float64)


@pytest.mark.parametrize("blur", [ISOTROPIC, ANISOTROPIC], ids=["isotropic", "anisotropic"])
def test_the_directions_are_those_of_numpys_svd_of_the_centred_kernels(blur: BlurRange) -> None:
    kernels = drawn(blur, 1000, 0)
    flat = kernels.flatten(1).numpy()
    expected = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:10].T
    directions = principal_directions(kernels, 10).numpy()
    assert directions.shape == (441, 10)
    for ours, theirs in zip(directions.T, expected.T, strict=True):
        np.testing.assert_allclose(ours * np.sign(ours @ theirs), theirs, rtol=0, atol=1e-8)


def test_the_signs_do_not_depend_on_the_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = drawn(ANISOTROPIC, 500, 0)
    expected = principal_directions(kernels, 10)
    decompose = torch.linalg.svd

    def turned(matrix: Tensor, full_matrices: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        left, values, right = decompose(matrix, full_matrices=full_matrices)
        return -left, values, -right

    monkeypatch.setattr(torch.linalg, "svd", turned)
    assert torch.equal(principal_directions(kernels, 10), expected)


def test_the_columns_are_orthonormal_and_float32() -> None:
    basis = kernel_basis(ANISOTROPIC, samples=SAMPLES)
    assert (basis.shape, basis.dtype) == ((441, 10), torch.float32)
    torch.testing.assert_close(basis.T @ basis, torch.eye(10), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("blur", "error"), [(ISOTROPIC, 1e-4), (ANISOTROPIC, 0.16)], ids=["isotropic", "anisotropic"])
def test_ten_numbers_keep_unseen_kernels_up_to_the_stated_relative_error(blur: BlurRange, error: float) -> None:
    basis = kernel_basis(blur, samples=SAMPLES).double()
    mean = drawn(blur, SAMPLES, 1).flatten(1).mean(0)
    unseen = drawn(blur, 300, 2).flatten(1)
    kept = mean + (unseen @ basis - mean @ basis) @ basis.T
    assert float((kept - unseen).norm() / unseen.norm()) < error


def test_more_numbers_keep_more() -> None:
    unseen = drawn(ANISOTROPIC, 200, 2).flatten(1)
    bases = [kernel_basis(ANISOTROPIC, code, samples=SAMPLES).double() for code in (1, 5, 10, 30)]
    lost = [float((unseen - unseen @ basis @ basis.T).norm()) for basis in bases]
    assert lost == sorted(lost, reverse=True)
    assert lost[-1] < 0.5 * lost[0]


def test_the_basis_depends_on_range_and_seed_alone() -> None:
    basis = kernel_basis(ISOTROPIC, 6, samples=SAMPLES)
    torch.manual_seed(99)
    assert torch.equal(basis, kernel_basis(ISOTROPIC, 6, samples=SAMPLES))
    torch.testing.assert_close(basis[:, :3], kernel_basis(ISOTROPIC, 3, samples=SAMPLES), rtol=0, atol=0)
    assert not torch.equal(basis, kernel_basis(ISOTROPIC, 6, samples=SAMPLES, seed=1))


@pytest.mark.parametrize(
    ("blur", "code", "directions"),
    [(BlurRange((2, 2)), 1, 0), (BlurRange((0.2, 4), kernel=3), 10, 2), (BlurRange((0.2, 4), kernel=3), 0, 2)],
)
def test_a_code_longer_than_the_kernels_have_directions_is_refused(blur: BlurRange, code: int, directions: int) -> None:
    """At 3x3 a round kernel has three different weights, whose sum is 1."""
    message = f"A code of {code} numbers is not legal for '{blur}': its kernels have {directions} directions"
    with pytest.raises(UsageError, match=re.escape(message)):
        kernel_basis(blur, code, samples=200)
