# SPDX-License-Identifier: Apache-2.0
"""The shipped pairs show the phenomenon, and their cards tell the truth."""

from pathlib import Path

import pytest

from filterlens import FAIG, ModelPair
from filterlens.data.photographs import photograph, square
from filterlens.data.samples import as_samples
from filterlens.degradations import Degradation
from filterlens.execution.hardware import has_fast_bf16
from filterlens.models.checkpoints import load_network
from filterlens.models.pretrained import pair_files, pair_names
from filterlens.training.validation import psnr_per_degradation

SET5 = Path(__file__).parents[3] / "shared" / "data" / "eval" / "set5"
DEGRADATIONS = ("clean", "blur:2", "noise:0.1", "blur:2+noise:0.1")


def test_three_pairs_ship():
    assert pair_names() == ["srcnn-style-x2", "srresnet-x2", "srresnet-x2-k3"]


@pytest.mark.parametrize("name", ["srresnet-x2", "srcnn-style-x2"])
def test_cards_name_recipe_data_iterations_and_psnr(name):
    for path in pair_files(name):
        card = load_network(path).card
        assert card["recipe"]["scale"] == 2 and card["iterations"] > 0 and card["training_data"]
        assert set(card["psnr"]) == {"Set5", "Set14", "BSDS100"}
        assert all(set(values) == set(DEGRADATIONS) for values in card["psnr"].values())


@pytest.mark.parametrize("name", ["srresnet-x2", "srcnn-style-x2"])
def test_the_target_gained_on_blur_and_noise_and_lost_little_on_clean(name):
    baseline, target = (load_network(path).card["psnr"]["Set14"] for path in pair_files(name))
    gain = {degradation: target[degradation] - baseline[degradation] for degradation in DEGRADATIONS}
    assert gain["noise:0.1"] >= 3.5 and gain["blur:2"] >= 3.5 and gain["clean"] > -0.7, gain


def test_three_degradations_are_learned_from_the_baseline_of_two():
    baseline, target = pair_files("srresnet-x2-k3")
    assert baseline == pair_files("srresnet-x2")[0]
    card = load_network(target).card
    after, before = card["psnr"]["Set14"], card["baseline_psnr"]["Set14"]
    gain = {degradation: after[degradation] - before[degradation] for degradation in after}
    assert gain["noise:0.1"] >= 3.5 and gain["blur:2"] >= 3.5 and gain["jpeg:30"] > 0.5 and gain["clean"] > -0.7, gain


@pytest.mark.skipif(not SET5.is_dir(), reason="Set5 is not beside the checkout (../shared/data/eval/set5)")
@pytest.mark.parametrize("name", ["srresnet-x2", "srcnn-style-x2"])
def test_the_cards_psnr_can_be_measured_again(name):
    images = [sample.read() for sample in as_samples(SET5)]
    wanted = {text: Degradation.parse(text) for text in ("blur:2", "noise:0.1")}
    for path in pair_files(name):
        loaded = load_network(path)
        measured = psnr_per_degradation(loaded.network, images, wanted, scale=2)
        for degradation, value in measured.items():
            assert value == pytest.approx(loaded.card["psnr"]["Set5"][degradation], abs=0.02)


@pytest.mark.parametrize(
    ("precision", "largest"), [("fp32", 0.005), pytest.param("bf16", 0.02, marks=pytest.mark.slow)]
)
def test_the_default_quadrature_is_complete_on_the_shipped_pair(precision, largest):
    pair = ModelPair.pretrained("srresnet-x2")
    is_emulated = precision == "bf16" and not has_fast_bf16(pair.device)
    image = square(photograph("astronaut"), 64 if is_emulated else 192, 20, 130)
    found = FAIG(pair, precision=precision).attribute(image, ["blur:2", "noise:0.1"])
    assert found.completeness_gap < largest
