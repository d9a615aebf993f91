# SPDX-License-Identifier: Apache-2.0
"""Outputs that are no numbers reach no table."""

import pytest
import torch

from filterlens import (
    FAIG,
    Degradation,
    FilterlensError,
    GoalDirected,
    InputIG,
    ModelPair,
    Selection,
    Taylor,
    UsageError,
)
from filterlens.data.samples import as_samples
from filterlens.evaluation.damage import measure_damage
from filterlens.evaluation.function_distance import function_distance, preservation, removal
from filterlens.evaluation.modulation import FilterKnob, measure_knobs
from filterlens.metrics import psnr, ssim
from filterlens.pixels import require_finite
from filterlens.run.tables import Edit
from tests.attribution.small_networks import Curved, make_pair, photographs

INPUTS = {"blur:1": Degradation.parse("blur:1")}


class Poles(Curved):
    """Gives infinity where the first bias sums to less than 0 in the upper left quarter."""

    def forward(self, x):
        output = super().forward(x)
        if self.first.bias.sum() < 0:
            output = output.clone()
            output[..., : output.shape[-2] // 2, : output.shape[-1] // 2] = torch.inf
        return output


def exploding(*roles):
    """A pair of which the named ends give infinity in a quarter of the pixels."""
    baseline, target, _ = make_pair(Poles)
    with torch.no_grad():
        for role, network in (("baseline", baseline), ("target", target)):
            network.first.bias.fill_(-1 if role in roles else 1)
    return ModelPair(baseline, target)


@pytest.mark.parametrize("role", ["baseline", "target"])
def test_a_network_that_explodes_is_named_with_image_and_share(role):
    pair, samples = exploding(role), as_samples({"city": photographs(1, 32, 32)[0]})
    scores = torch.rand(len(pair.space), dtype=torch.float64)
    words = rf"The {role} gives NaN or infinity in 25\.00% of the pixels of image 'city' with 'blur:1'"
    with pytest.raises(FilterlensError, match=words):
        measure_damage(pair, {Edit("own", 1, "blur:1"): Selection.top(pair.space, scores, 1)}, samples, INPUTS)


def test_an_edit_that_explodes_is_named(monkeypatch):
    pair, samples = exploding(), as_samples({"city": photographs(1, 32, 32)[0]})
    original = ModelPair.run

    def run(self, vector, *more):
        output = original(self, vector, *more)
        return output if torch.equal(vector, pair.target) or torch.equal(vector, pair.baseline) else output / 0

    monkeypatch.setattr(ModelPair, "run", run)
    selection = Selection(pair.space, torch.arange(9))
    for judge, words in (
        (
            lambda: measure_damage(pair, {Edit("own", 5, "blur:1"): selection}, samples, INPUTS),
            "5 % that 'own' ranks for 'blur:1'",
        ),
        (
            lambda: measure_knobs(pair, {"mine": (FilterKnob(selection), ["blur:1"])}, samples[0], INPUTS, [0.5]),
            "The knob 'mine' at 0.5",
        ),
    ):
        with pytest.raises(FilterlensError, match=rf"{words}.* NaN or infinity in 100\.00% .* 'city'"):
            judge()


@pytest.mark.parametrize("method", [FAIG, Taylor, GoalDirected])
def test_attribution_names_image_input_and_network_before_it_integrates(method):
    with pytest.raises(FilterlensError, match=r"Image '.*' with 'blur:1': The target gives NaN or infinity in 25\.00%"):
        method(exploding("target")).attribute(photographs(1, 32, 32), "blur:1")


def test_attribution_names_the_image_whose_scores_are_not_finite():
    with pytest.raises(FilterlensError, match=r"Image '0' with 'blur:1': .* on the way from the clean to"):
        InputIG(exploding("target")).attribute(photographs(1, 32, 32), "blur:1")


def test_infinity_is_not_white_and_nan_not_a_figure():
    fine, broken = photographs(1, 32, 32), photographs(1, 32, 32)
    broken[..., :16, :16] = torch.inf
    for measure in (
        lambda: psnr(broken, fine, crop=2),
        lambda: ssim(broken, fine, crop=2),
        lambda: function_distance(broken, fine),
        lambda: removal(broken, fine, fine),
        lambda: preservation(fine, fine * torch.nan, fine),
    ):
        with pytest.raises(FilterlensError, match="NaN or infinity in"):
            measure()
    with pytest.raises(FilterlensError, match="so far apart"):
        removal(fine * 1e200, fine, fine)
    assert require_finite(fine, "it") is fine


def test_a_truth_of_another_range_and_a_crop_that_is_none_are_refused():
    image = photographs(1, 32, 32)
    with pytest.raises(UsageError, match=r"The truth has values .* Divide by 255"):
        psnr(image * 255, image * 255, crop=2)
    with pytest.raises(UsageError, match="cropped border pixels = -1"):
        psnr(image, image, crop=-1)
