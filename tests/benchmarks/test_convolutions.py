# SPDX-License-Identifier: Apache-2.0
"""The bare convolutions are those of the network, counted as PyTorch's own counter counts them."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.convolutions import Replay, convolutions_of
from filterlens.models.one_branch import SRResNet

IMAGES = torch.rand(1, 3, 12, 10)


def operations_in(task):
    with FlopCounterMode(display=False) as counter:
        task()
    return counter.get_total_flops()


def test_operations_are_those_that_pytorch_counts_in_a_pass_and_in_the_replay():
    network = SRResNet(features=8, blocks=2)
    found = convolutions_of(network, IMAGES)
    total = sum(each.operations for each in found)
    assert total == operations_in(lambda: network(IMAGES).square().sum().backward())
    assert total == operations_in(Replay(found, torch.float32, torch.device("cpu")))


def test_only_the_first_layer_needs_no_input_gradient_and_no_hook_is_left():
    network = SRResNet(features=8, blocks=2)
    found = convolutions_of(network, IMAGES)
    assert [each.needs_input_gradient for each in found] == [False] + [True] * 7
    assert found[-1].outputs == (1, 3, 24, 20)
    assert not any(module._forward_hooks for module in network.modules())
