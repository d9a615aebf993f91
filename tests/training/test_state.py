# SPDX-License-Identifier: Apache-2.0
"""The moving average against torch's own, whose state it shares."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from filterlens.training.state import MovingAverage


def network() -> nn.Module:
    """One convolution, and running statistics that are no weights."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def change(module: nn.Module) -> None:
    with torch.no_grad():
        for weight in module.parameters():
            weight += torch.randn_like(weight)
    module(torch.randn(2, 3, 8, 8))  # moves the statistics


def test_an_average_and_its_state_are_those_of_torch() -> None:
    module = network()
    average, oracle = MovingAverage(module, 0.9), AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for count in range(4):
        change(module)
        average.update(module, count)
        oracle.update_parameters(module)
        torch.testing.assert_close(average.content(count + 1), dict(oracle.state_dict()), rtol=0, atol=0)


def test_a_state_goes_to_torch_and_back() -> None:
    module = network()
    average = MovingAverage(module, 0.9)
    change(module)
    average.update(module, 0)
    oracle, restored = AveragedModel(network()), MovingAverage(network(), 0.9)
    oracle.load_state_dict(average.content(1))
    restored.restore(oracle.state_dict())
    assert oracle.n_averaged == 1
    torch.testing.assert_close(restored.module.state_dict(), module.state_dict(), rtol=0, atol=0)
