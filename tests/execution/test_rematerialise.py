# SPDX-License-Identifier: Apache-2.0
"""Computing activations twice, for the lists of blocks that two-branch networks have, as their authors write them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterlens.execution.rematerialise import containers_of, rematerialised


class Conditioned(nn.Module):
    """A block with two inputs, given apart or as one list."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x, condition=None):
        if condition is None:
            return [self(*x), x[1]]
        return x + torch.tanh(self.conv(x)) * condition


class Branches(nn.Module):
    """Features and a condition that depends on the whole image; subclasses differ in how they call their blocks."""

    def __init__(self, body, count=6):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 3, 3, padding=1)
        self.body = body

    def forward(self, x):
        y = self.first(x)
        return self.last(self.restored(y, y.mean((-2, -1), keepdim=True)))


class OneByOne(Branches):
    def __init__(self):
        super().__init__(nn.ModuleList(Conditioned() for _ in range(6)))

    def restored(self, y, condition):
        for block in self.body:
            y = block(y, condition=condition)
        return y


class SequenceCalledWithAList(Branches):
    def __init__(self):
        super().__init__(nn.Sequential(*(Conditioned() for _ in range(7))))

    def restored(self, y, condition):
        return self.body([y, condition])[0]


class SequenceWalkedByHand(Branches):
    """A sequence that is never called as a whole; its last entry is another kind of layer."""

    def __init__(self):
        super().__init__(nn.Sequential(*(Conditioned() for _ in range(6)), nn.Conv2d(6, 6, 3, padding=1)))

    def restored(self, y, condition):
        both = [y, condition]
        for block in self.body[:-1]:
            both = block(both)
        return self.body[-1](both[0])


class OneBlockManyTimes(Branches):
    def __init__(self):
        super().__init__(nn.ModuleList([Conditioned()] * 5))

    restored = OneByOne.restored


class ActivationsInPlace(Branches):
    """Segments begin with activations that write into what was kept for them."""

    def __init__(self):
        layers = [nn.Conv2d(6, 6, 3, padding=1)]
        for _ in range(6):
            layers += [nn.LeakyReLU(0.1, True), nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)]
        super().__init__(nn.Sequential(*layers))

    def restored(self, y, condition):
        return self.body(y) * condition


NETWORKS = [OneByOne, SequenceCalledWithAList, SequenceWalkedByHand, OneBlockManyTimes, ActivationsInPlace]


def gradients(network, image):
    F.mse_loss(network(image), image).backward()
    found = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    return found


@pytest.mark.parametrize("make", NETWORKS)
def test_gradients_are_the_same_and_the_modules_are_as_they_were(make):
    torch.manual_seed(0)
    network = make().double().eval()
    image = torch.rand(1, 3, 12, 14, dtype=torch.float64)
    plain = gradients(network, image)
    with rematerialised(containers_of(network)):
        assert any("forward" in vars(module) for module in network.modules())
        again = gradients(network, image)
    for expected, found in zip(plain, again, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert all("forward" not in vars(module) for module in network.modules())


@pytest.mark.parametrize("make", NETWORKS)
def test_less_is_kept(make):
    network = make().double().eval()
    image, sizes = torch.rand(1, 3, 48, 48, dtype=torch.float64), []
    for enabled in (False, True):
        kept = {}

        def count(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with rematerialised(containers_of(network), enabled=enabled), \
                torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):  # fmt: skip
            output = network(image).sum()
        sizes.append(sum(kept.values()))
        del output
    assert sizes[1] < 0.75 * sizes[0]


def test_a_sequence_that_is_called_computes_every_block_twice_and_not_thrice():
    network = SequenceCalledWithAList().double().eval()
    calls = [0] * len(network.body)
    for number, block in enumerate(network.body):
        block.register_forward_hook(lambda *_, number=number: calls.__setitem__(number, calls[number] + 1))
    with rematerialised(containers_of(network)):
        gradients(network, torch.rand(1, 3, 12, 14, dtype=torch.float64))
    assert max(calls) <= 2 * 2, "a block calls itself once for its list and once for the two inputs"
    assert min(calls) >= 2
