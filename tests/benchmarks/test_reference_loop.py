# SPDX-License-Identifier: Apache-2.0
"""The loop that filterlens is compared with is the reference's: a closed form, and FAIG with the reference's nodes."""

import copy

import torch

from benchmarks import sides
from benchmarks.harness.images import ImageChoice
from benchmarks.reference_loop import LoopSample, ReferenceLoop, filter_magnitudes
from benchmarks.sides import Case, Outcome
from filterlens import FAIG, Degradation, ModelPair, Quadrature
from filterlens.data.samples import as_samples
from tests.attribution.small_networks import Linear, make_pair, photographs

DEGRADATIONS = ("blur:1", "noise:0.1")


def loop_over(baseline, target, nodes=100):
    return ReferenceLoop(copy.deepcopy(target), baseline.state_dict(), target.state_dict(), nodes)


def sample_of(image, scale):
    own, other = (Degradation.parse(text).apply(image[None], scale) for text in DEGRADATIONS)
    return LoopSample((own, other), image[None])


def test_on_a_linear_network_it_has_the_closed_form_of_nodes_counted_from_the_target():
    baseline, target, _ = make_pair(Linear, change=1.0)
    image, nodes = photographs(1)[0], 10
    sample = sample_of(image, 1)
    found = loop_over(baseline, target, nodes).attributions(sample)
    old, new = (network.mix.weight.detach()[:, :, 0, 0] for network in (baseline, target))
    mean = new + (old - new) * (0 + 9) / 2 / nodes  # of the points at k/10 from the target, k = 0 … 9
    for lowered, attribution in zip(sample.inputs, found, strict=True):
        x = lowered[0].flatten(1)
        expected = 2 * (mean @ x - image.flatten(1)) @ x.T * (new - old)
        torch.testing.assert_close(attribution["mix.weight"][:, :, 0, 0], expected, rtol=1e-10, atol=0)


def test_its_ranking_and_gap_are_those_of_faig_with_the_references_nodes():
    baseline, target, pair = make_pair()
    images = photographs()
    scores, gap = loop_over(baseline, target).ranking([sample_of(image, 2) for image in images])
    expected = FAIG(pair, quadrature=Quadrature("right", 100)).attribute(images, DEGRADATIONS)
    torch.testing.assert_close(scores, expected.of("blur:1"), rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(gap, expected.completeness_gap, rtol=1e-6, atol=0)


def test_a_filters_magnitude_is_the_sum_over_its_slice_and_biases_hold_no_filters():
    attribution = {"a.weight": torch.tensor([1.0, -2.0, 3.0, -4.0]).view(1, 2, 1, 2), "a.bias": torch.tensor([9.0])}
    assert filter_magnitudes(attribution).tolist() == [3, 7]


def test_both_sides_get_identical_inputs():
    case = Case("srresnet-x2", ImageChoice(count=2, side=51), torch.device("cpu"))
    method = FAIG(ModelPair.pretrained(case.pair))
    for sample, image in zip(sides._samples(case), case.images.load().values(), strict=True):
        (ours,) = as_samples(image)
        assert torch.equal(sample.truth, method.truth_of(ours))
        for lowered, text in zip(sample.inputs, sides.DEGRADATIONS, strict=True):
            assert torch.equal(lowered, method.degraded(sample.truth, Degradation.parse(text)))


def test_the_overlap_of_two_outcomes_is_the_smaller_of_the_degradations():
    one, two = (
        Outcome(1.0, tops, 0.0, (1,), "fp32")
        for tops in ((frozenset({1, 2}), frozenset({3, 4})), (frozenset({1, 2}), frozenset({4, 5})))
    )
    assert one.overlap(two) == 0.5
