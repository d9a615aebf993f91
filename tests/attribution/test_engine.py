# SPDX-License-Identifier: Apache-2.0
"""Bounded memory changes nothing: tiles and recomputed activations against the whole image, in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterlens import FAIG, FilterlensError, InputIG, ModelPair
from filterlens.attribution.engine import Engine
from filterlens.attribution.faig import SquaredDistance
from filterlens.models.one_branch import SRCNNStyle, SRResNet
from tests.attribution.small_networks import make_pair, photographs

LOSS = SquaredDistance().loss


class Attentive(nn.Module):
    """Blocks whose outputs see the whole image, so tiles cannot be exact."""

    def __init__(self, container=nn.ModuleList):
        super().__init__()
        self.scale = 1
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.blocks = container(Gated() for _ in range(6)) if container is nn.ModuleList else container(*gated(6))
        self.last = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x):
        x = self.first(x)
        if isinstance(self.blocks, nn.Sequential):
            return self.last(self.blocks(x))
        for block in self.blocks:
            x = block(x)
        return self.last(x)


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x):
        return x + torch.tanh(self.conv(x)) * x.mean((-2, -1), keepdim=True).sigmoid()


def gated(count):
    return [Gated() for _ in range(count)]


class InSequence(Attentive):
    def __init__(self):
        super().__init__(nn.Sequential)


def pair_of(make, seed=0):
    torch.manual_seed(seed)
    baseline, target = make().double(), make().double()
    with torch.no_grad():
        for old, new in zip(baseline.parameters(), target.parameters(), strict=True):
            new.copy_(old + 0.3 * new)
    return ModelPair(baseline, target)


def make_resnet():
    return SRResNet(2, features=6, blocks=2)


def whole_and(pair, memory, height=44, width=62):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64)
    truth = torch.rand(1, 3, height * pair.scale, width * pair.scale, generator=generator, dtype=torch.float64)
    vector = pair.at(0.4)
    results = []
    for limit in (1e12, memory):
        engine = Engine(pair, "fp32", memory=limit)
        results.append((engine.output(vector, inputs), *engine.loss_and_gradient(vector, inputs, truth, LOSS)))
    return results


def by_backward(pair, vector, inputs, truth):
    network = pair.network(vector)
    LOSS(network(inputs), truth).backward()
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])


@pytest.mark.parametrize("make", [make_resnet, lambda: SRResNet(3, 4, 1), SRCNNStyle])
def test_tiles_give_the_output_loss_and_gradient_of_the_whole_image(make, monkeypatch):
    pair = pair_of(make)
    windows = []
    plain = pair.differentiate
    monkeypatch.setattr(pair, "differentiate", lambda v, x, *more: windows.append(x.shape) or plain(v, x, *more))
    whole, tiled = whole_and(pair, 1)
    assert len(windows) > 2, "the image was not tiled, so nothing is proven"
    for expected, found in zip(whole, tiled, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_the_gradient_is_that_of_backward_on_a_fresh_module():
    pair = pair_of(make_resnet)
    inputs, truth = torch.rand(1, 3, 20, 24).double(), torch.rand(1, 3, 40, 48).double()
    value, found = Engine(pair, "fp32").loss_and_gradient(pair.at(0.4), inputs, truth, LOSS)
    torch.testing.assert_close(found, by_backward(pair, pair.at(0.4), inputs, truth), rtol=1e-10, atol=1e-12)
    assert float(value) == pytest.approx(float(LOSS(pair.network(pair.at(0.4))(inputs).detach(), truth)))


@pytest.mark.parametrize("make", [Attentive, InSequence])
def test_where_tiles_cannot_be_exact_activations_are_computed_twice_with_the_same_result(make):
    pair = pair_of(make)
    whole, bounded = whole_and(pair, 1)
    for expected, found in zip(whole, bounded, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    inputs, truth = torch.rand(1, 3, 30, 30).double(), torch.rand(1, 3, 30, 30).double()
    _, found = Engine(pair, "fp32", memory=1).loss_and_gradient(pair.at(0.4), inputs, truth, LOSS)
    torch.testing.assert_close(found, by_backward(pair, pair.at(0.4), inputs, truth), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("make", [Attentive, InSequence])
def test_computing_twice_keeps_less_and_leaves_the_modules_as_they_were(make):
    from filterlens.execution.rematerialise import containers_of, rematerialised

    network = make().double()
    containers = containers_of(network)
    assert containers == [network.blocks]
    image = torch.rand(1, 3, 64, 64, dtype=torch.float64)

    def kept():
        bytes_of = {}

        def pack(tensor):
            bytes_of[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = network(image).sum()
        return sum(bytes_of.values()), output

    plain, _ = kept()
    with rematerialised(containers):
        less, _ = kept()
    assert less < 0.7 * plain
    assert all("forward" not in vars(module) for module in network.modules())
    with pytest.raises(ZeroDivisionError), rematerialised(containers):
        1 / 0  # noqa: B018
    assert all("forward" not in vars(module) for module in network.modules())


def test_kept_bytes_per_pixel_are_counted():
    class Two(nn.Module):
        scale = 1

        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 10, 3, padding=1), nn.Conv2d(10, 3, 3, padding=1)

        def forward(self, x):
            return self.last(F.relu(self.first(x)))

    engine = Engine(pair_of(Two), "fp32")
    by_hand = 8 * (3 + 10 + 3)  # the input, what ReLU gave, and the output that the square keeps
    assert engine.bytes_per_pixel(torch.rand(1, 3, 50, 50).double()) == by_hand
    assert engine.bytes_per_pixel(torch.rand(1, 3, 5, 7).double()) == by_hand


def test_out_of_memory_halves_the_tiles_and_says_so(monkeypatch):
    pair = pair_of(SRCNNStyle)
    expected, _ = whole_and(pair, 1e12)
    plain = pair.differentiate
    largest = 1300

    def limited(vector, images, *more):
        if images.shape[-1] * images.shape[-2] > largest:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(vector, images, *more)

    monkeypatch.setattr(pair, "differentiate", limited)
    notes = []
    generator = torch.Generator().manual_seed(1)
    inputs = torch.rand(1, 3, 44, 62, generator=generator, dtype=torch.float64)
    truth = torch.rand(1, 3, 88, 124, generator=generator, dtype=torch.float64)
    engine = Engine(pair, "fp32", memory=1e12, note=notes.append)
    _value, gradient = engine.loss_and_gradient(pair.at(0.4), inputs, truth, LOSS)
    torch.testing.assert_close(gradient, expected[2], rtol=1e-10, atol=1e-10)
    assert notes and all("out of memory with" in note and "going on in tiles of" in note for note in notes)
    notes.clear()
    engine.loss_and_gradient(pair.at(0.4), inputs, truth, LOSS)
    assert not notes, "what was learned is remembered"
    largest = 10
    with pytest.raises(FilterlensError, match="Out of memory on cpu at 2728 LR pixels, even in tiles of 1024"):
        engine.loss_and_gradient(pair.at(0.4), inputs, truth, LOSS)


def test_out_of_memory_without_tiles_turns_to_computing_twice(monkeypatch):
    pair = pair_of(Attentive)
    plain, calls = pair.differentiate, []

    def limited(*arguments):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return plain(*arguments)

    monkeypatch.setattr(pair, "differentiate", limited)
    notes = []
    inputs, truth = torch.rand(1, 3, 30, 30).double(), torch.rand(1, 3, 30, 30).double()
    Engine(pair, "fp32", memory=1e12, note=notes.append).loss_and_gradient(pair.at(0.4), inputs, truth, LOSS)
    assert notes == [
        "out of memory with 900 LR pixels at once: going on computing activations twice instead of keeping them"
    ]


def test_other_errors_pass_through(monkeypatch):
    pair = pair_of(SRCNNStyle)

    def broken(*arguments):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(pair, "differentiate", broken)
    inputs, truth = torch.rand(1, 3, 30, 30).double(), torch.rand(1, 3, 60, 60).double()
    with pytest.raises(RuntimeError, match="shapes differ"):
        Engine(pair, "fp32").loss_and_gradient(pair.at(0.4), inputs, truth, LOSS)


@pytest.mark.parametrize("method", [FAIG, InputIG])
def test_scores_of_a_large_image_do_not_depend_on_the_memory(method):
    _, _, pair = make_pair()
    image = photographs(1, 96, 120)
    whole = method(pair).attribute(image, ["blur:1", "noise:0.1"])
    tiled = method(pair, memory=1e-6).attribute(image, ["blur:1", "noise:0.1"])
    torch.testing.assert_close(tiled.of("blur:1"), whole.of("blur:1"), rtol=1e-9, atol=1e-12)
