# SPDX-License-Identifier: Apache-2.0
"""Gradients of single samples of a batch, against computing each sample alone."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterlens import FAIG, FilterlensError, Quadrature, UsageError
from filterlens.attribution import per_sample
from filterlens.attribution.faig import SquaredDistance
from filterlens.attribution.per_sample import patch_magnitudes, per_sample_gradients
from filterlens.degradations import Degradation
from filterlens.models.one_branch import SRResNet
from filterlens.pair import ModelPair
from tests.attribution.small_networks import Curved, make_pair, photographs

TRUTH = SquaredDistance()
NODES = Quadrature("gauss-legendre", 5)
WAYS = [per_sample._one_by_one, per_sample._all_at_once]


class Branching(Curved):
    """Decides by a value, which vmap refuses."""

    def forward(self, x):
        return super().forward(x) if float(x.mean()) > 2 else super().forward(1 - x)


class Varied(nn.Module):
    """Norms, strided, dilated, depthwise and transposed convolutions, a linear layer, attention to channels."""

    def __init__(self):
        super().__init__()
        self.scale = 1
        self.head = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, padding_mode="reflect")
        self.group_norm = nn.GroupNorm(2, 8)
        self.squeeze = nn.Linear(8, 8)
        self.tail = nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1)

    def forward(self, x):
        features = torch.tanh(self.norm(self.head(x)))
        features = features + F.gelu(self.group_norm(self.depthwise(features)))
        weights = torch.sigmoid(self.squeeze(features.mean((-2, -1))))
        return x + self.tail(features * weights[:, :, None, None])


def batch(pair, count=3, height=14, width=12):
    """LR patches and unrelated HR references, in float64."""
    generator = torch.Generator().manual_seed(1)
    sizes = ((height, width), (height * pair.scale, width * pair.scale))
    return [torch.rand(count, 3, *size, generator=generator, dtype=torch.float64) for size in sizes]


def gradients_by_hand(network, inputs, references):
    """Backward on one sample after the other, on a plain module."""
    rows = []
    for image, reference in zip(inputs, references, strict=True):
        loss = ((network(image[None]) - reference[None]) ** 2).sum()
        rows.append(torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(network.parameters()))]))
    return torch.stack(rows)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [Curved, Varied, lambda: SRResNet(2, 6, 2)])
def test_gradients_are_those_of_each_sample_alone(kind, way):
    _, _, pair = make_pair(kind)
    inputs, references = batch(pair)
    found = way(pair, pair.at(0.3), inputs, references, TRUTH, "fp32")
    expected = gradients_by_hand(pair.network(pair.at(0.3)), inputs, references)
    assert found.shape == (3, len(pair.target))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_a_network_that_cannot_be_mapped_is_differentiated_one_by_one(monkeypatch):
    monkeypatch.setattr(per_sample, "AT_ONCE", ("cpu",))
    _, _, pair = make_pair(Branching)
    inputs, references = batch(pair)
    found = per_sample_gradients(pair, pair.target, inputs, references)
    expected = gradients_by_hand(pair.network(pair.target), inputs, references)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_out_of_memory_is_no_reason_to_go_one_by_one(monkeypatch):
    def greedy(*arguments):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(per_sample, "AT_ONCE", ("cpu",))
    monkeypatch.setattr(per_sample, "_all_at_once", greedy)
    _, _, pair = make_pair()
    with pytest.raises(torch.cuda.OutOfMemoryError):
        per_sample_gradients(pair, pair.target, *batch(pair))


@pytest.mark.parametrize("way", WAYS)
def test_bf16_differs_from_fp32_by_its_rounding_only(way):
    torch.manual_seed(0)
    pair = ModelPair(SRResNet(2, 16, 2), SRResNet(2, 16, 2))
    inputs, references = (each.float() for each in batch(pair, height=24, width=24))
    exact, rounded = (way(pair, pair.target, inputs, references, TRUTH, each) for each in ("fp32", "bf16"))
    assert rounded.dtype == torch.float32
    error = (rounded - exact).norm(dim=1) / exact.norm(dim=1)
    assert bool((error > 1e-5).all()) and bool((error < 0.02).all())


@pytest.mark.parametrize("objective", ["truth", "target", "baseline"])
@pytest.mark.parametrize("at_once", [("cpu",), ("cuda",)])
def test_magnitudes_are_those_of_faig_without_elimination_on_each_patch(monkeypatch, objective, at_once):
    monkeypatch.setattr(per_sample, "AT_ONCE", at_once)
    _, _, pair = make_pair()
    truths = photographs(3)
    inputs = torch.cat([Degradation.parse("blur:1").apply(truth[None], 2, seed=0) for truth in truths])
    found = patch_magnitudes(pair, inputs, truths, objective=SquaredDistance(objective), quadrature=NODES)
    method = FAIG(pair, objective=objective, quadrature=NODES, eliminate=False)
    expected = torch.stack([method.attribute(truth, ["blur:1"]).of("blur:1") for truth in truths])
    assert found.dtype == torch.float64 and found.device.type == "cpu"
    torch.testing.assert_close(found, expected.double(), rtol=1e-10, atol=0)


def test_a_batch_of_one_and_none_at_all():
    _, _, pair = make_pair()
    inputs, references = batch(pair, count=2)
    both = patch_magnitudes(pair, inputs, references, quadrature=NODES)
    assert torch.equal(patch_magnitudes(pair, inputs[1:], references[1:], quadrature=NODES), both[1:])
    assert patch_magnitudes(pair, inputs[:0], references[:0]).shape == (0, len(pair.space))


def test_chunks_do_not_change_the_result():
    _, _, pair = make_pair()
    inputs, references = batch(pair, count=5)
    whole = patch_magnitudes(pair, inputs, references, quadrature=NODES)
    for chunk in (1, 2, 5, 7):
        assert torch.equal(patch_magnitudes(pair, inputs, references, quadrature=NODES, chunk=chunk), whole)


def test_chunks_are_halved_where_memory_runs_out(monkeypatch):
    _, _, pair = make_pair()
    inputs, references = batch(pair, count=5)
    whole = patch_magnitudes(pair, inputs, references, quadrature=NODES)
    sizes, compute = [], per_sample.per_sample_gradients

    def greedy(pair, vector, inputs, *more):
        sizes.append(len(inputs))
        if len(inputs) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return compute(pair, vector, inputs, *more)

    monkeypatch.setattr(per_sample, "per_sample_gradients", greedy)
    assert torch.equal(patch_magnitudes(pair, inputs, references, quadrature=NODES, chunk=4), whole)
    assert sizes == [4] + 2 * NODES.nodes * [2] + NODES.nodes * [1]


def test_chunks_follow_from_the_memory(monkeypatch):
    _, _, pair = make_pair()
    gradient = len(pair.target) * 8
    for memory, expected in ((0, 1), (per_sample.COPIES * gradient * 10, 10), (1e12, per_sample.MOST_PATCHES)):
        monkeypatch.setattr(per_sample, "memory_for_activations", lambda device, memory=memory: memory)
        assert per_sample._chunk_that_fits(pair) == expected


def test_errors_that_are_not_of_memory_pass():
    _, _, pair = make_pair()
    inputs, references = batch(pair)
    with pytest.raises(FilterlensError, match=r"must be \(B, 3, h, w\)"):
        patch_magnitudes(pair, inputs[:, :1], references[:, :1])


def test_wrong_shapes_and_chunks_are_refused():
    _, _, pair = make_pair()
    inputs, references = batch(pair)
    with pytest.raises(UsageError, match=r"\(3, 3, 14, 12\) and references \(2, 3, 28, 24\).*\(B, 3, 2h, 2w\)"):
        patch_magnitudes(pair, inputs, references[:2])
    with pytest.raises(UsageError, match=r"Inputs \(3, 14, 12\)"):
        patch_magnitudes(pair, inputs[0], references[0])
    with pytest.raises(UsageError, match="A chunk of 0 patches"):
        patch_magnitudes(pair, inputs, references, chunk=0)


def test_the_users_networks_are_left_as_they_were():
    baseline, target, pair = make_pair(Varied)
    before = [network.train().state_dict() for network in (baseline, target)]
    before = [{name: value.clone() for name, value in state.items()} for state in before]
    vectors = pair.baseline.clone(), pair.target.clone()
    patch_magnitudes(pair, *batch(pair), quadrature=NODES)
    for network, state in zip((baseline, target), before, strict=True):
        assert network.training
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
        assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(vectors[0], pair.baseline) and torch.equal(vectors[1], pair.target)
