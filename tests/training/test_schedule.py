# SPDX-License-Identifier: Apache-2.0
"""The learning rate against torch's own schedulers and by its corners."""

import pytest
import torch

from filterlens.training.recipe import Stage
from filterlens.training.schedule import learning_rate


def test_a_cosine_equals_that_of_torch() -> None:
    stage = Stage(iterations=50, learning_rate=2e-4, final_learning_rate=1e-6)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-4)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=1e-6)
    for step in range(50):
        assert learning_rate(stage, step) == pytest.approx(oracle.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        oracle.step()


def test_restarts_equal_those_of_torch() -> None:
    stage = Stage(iterations=50, learning_rate=2e-4, final_learning_rate=1e-6, period=12)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-4)
    oracle = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=12, eta_min=1e-6)
    for step in range(50):
        assert learning_rate(stage, step) == pytest.approx(oracle.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        oracle.step()


def test_the_warm_up_is_linear_and_ends_at_the_peak() -> None:
    stage = Stage(iterations=100, learning_rate=1e-3, warmup=4)
    assert [learning_rate(stage, step) for step in range(5)] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3])


def test_the_cosine_after_a_warm_up_ends_at_the_final_rate() -> None:
    stage = Stage(iterations=1000, learning_rate=1e-3, final_learning_rate=1e-5, warmup=100)
    assert learning_rate(stage, 550) == pytest.approx((1e-3 + 1e-5) / 2)
    assert learning_rate(stage, 999) == pytest.approx(1e-5, rel=1e-3)


def test_a_warm_up_longer_than_the_stage_is_possible() -> None:
    stage = Stage(iterations=5, learning_rate=1e-3, warmup=10)
    assert learning_rate(stage, 4) == pytest.approx(5e-4)
