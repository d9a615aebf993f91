# SPDX-License-Identifier: Apache-2.0
"""Re-training learns, is decided by its seed, and goes on after a kill with the same numbers."""

import pytest
import torch
import torch.nn.functional as F

from filterlens.attribution.result import Attribution
from filterlens.data.images import to_uint8
from filterlens.degradations import Degradation, Mixture
from filterlens.editing.low_rank import LowRank
from filterlens.editing.retrain import retrain, save_retrained
from filterlens.editing.retrain_settings import settings_for
from filterlens.editing.trained_part import AllFilters, LastLayers, SelectedFilters
from filterlens.errors import FilterlensError, UsageError
from filterlens.filters import Selection
from filterlens.models.checkpoints import load_network, save_network
from filterlens.models.one_branch import SRResNet
from filterlens.pair import ModelPair
from tests.training.small import Killed, Killer

OPTIONS = {"scale": 2, "features": 8, "blocks": 2}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A narrow SRResNet from files, near bilinear upsampling as it starts."""
    folder = tmp_path_factory.mktemp("pair")
    torch.manual_seed(0)
    for role in ("baseline", "target"):
        save_network(folder / f"{role}.safetensors", SRResNet(**OPTIONS), "srresnet", OPTIONS, {"role": role})
    return ModelPair.load(folder / "baseline.safetensors", folder / "target.safetensors")


@pytest.fixture(scope="module")
def filters(pair):
    return SelectedFilters(Selection(pair.space, torch.arange(0, len(pair.space), 3), "every third"))


def small(degradation="blur:2,kernel=7", **changes):
    settings = {"iterations": 7, "learning_rate": 1e-2, "batch": 2, "patch": 16, "log_every": 2, "checkpoint_every": 3}
    return settings_for(degradation, **settings | changes)


@pytest.mark.parametrize(
    ("part", "rate"),
    [("random filters", 3e-3), (AllFilters(), 3e-4), (LowRank(13_671), 1e-2), (LastLayers(13_671), 3e-3)],
    ids=str,
)
def test_training_a_shipped_baseline_lowers_its_loss_on_a_photograph(photograph, part, rate):
    pair, image = ModelPair.pretrained(), to_uint8(photograph)
    if part == "random filters":
        generator = torch.Generator().manual_seed(0)
        part = SelectedFilters(Selection(pair.space, torch.randperm(len(pair.space), generator=generator)[:15_193]))
    settings = settings_for("blur:2", iterations=16, learning_rate=rate, batch=2, patch=32, log_every=4)
    result = retrain(pair, part, settings, [image])
    lowered = Degradation.parse("blur:2").apply(photograph, 2)
    before, after = (
        float(F.l1_loss(pair.run(vector, lowered), photograph)) for vector in (pair.baseline, result.parameters)
    )
    assert after < 0.9 * before


def test_only_the_trained_weights_change_and_the_pair_does_not(pair, filters, noise_images):
    baseline, target = pair.baseline.clone(), pair.target.clone()
    result = retrain(pair, filters, small(), noise_images)
    selected = pair.weight_mask(filters.selection.mask)
    assert torch.equal(result.parameters[~selected], baseline[~selected])
    assert result.trained_weights == int(selected.sum())
    assert int((result.parameters != baseline).sum()) > 0.9 * result.trained_weights  # all but those behind a dead ReLU
    assert torch.equal(pair.baseline, baseline) and torch.equal(pair.target, target)


@pytest.mark.parametrize("kill_at", [1, 3, 5, 7])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_killed_training_resumes_to_the_same_bits(pair, filters, noise_images, tmp_path, kill_at, ema):
    straight = retrain(pair, filters, small(ema=ema), noise_images)
    state = tmp_path / "retrain.state.pt"
    with pytest.raises(Killed):
        retrain(pair, filters, small(ema=ema), noise_images, state=state, progress=Killer(step=kill_at))
    assert state.exists() == (kill_at > 3)
    resumed = retrain(pair, filters, small(ema=ema), noise_images, state=state)
    assert torch.equal(resumed.parameters, straight.parameters)
    assert resumed.losses == straight.losses
    assert [step for step, _ in resumed.losses] == [2, 4, 6, 7]


def test_a_low_rank_training_resumes_to_the_same_bits(pair, noise_images, tmp_path):
    straight = retrain(pair, LowRank(600), small(), noise_images)
    with pytest.raises(Killed):
        retrain(pair, LowRank(600), small(), noise_images, state=tmp_path / "s.pt", progress=Killer(step=5))
    resumed = retrain(pair, LowRank(600), small(), noise_images, state=tmp_path / "s.pt")
    assert torch.equal(resumed.parameters, straight.parameters)


def test_a_finished_state_gives_the_result_without_a_step(pair, filters, noise_images, tmp_path):
    first = retrain(pair, filters, small(), noise_images, state=tmp_path / "s.pt")
    again = retrain(pair, filters, small(), noise_images, state=tmp_path / "s.pt", progress=Killer(step=1))
    assert torch.equal(again.parameters, first.parameters) and again.losses == first.losses


@pytest.mark.parametrize("other", ["seed", "filters", "images", "degradation", "precision"])
def test_a_state_of_another_training_is_refused(pair, filters, noise_images, tmp_path, other):
    state = tmp_path / "s.pt"
    retrain(pair, filters, small(iterations=1), noise_images, state=state)
    others = SelectedFilters(Selection(pair.space, torch.arange(1, len(pair.space), 3), "every third"))
    with pytest.raises(UsageError, match="holds a training with"):
        retrain(
            pair,
            others if other == "filters" else filters,
            small(
                "noise:0.1" if other == "degradation" else "blur:2,kernel=7", iterations=1, seed=int(other == "seed")
            ),
            noise_images[1:] if other == "images" else noise_images,
            state=state,
            precision="bf16" if other == "precision" else "fp32",
        )


def test_the_seed_decides_the_result(pair, filters, noise_images):
    first, again, other = (retrain(pair, filters, small(seed=seed), noise_images).parameters for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_moving_average_is_the_result(pair, filters, noise_images):
    selected, decay = pair.weight_mask(filters.selection.mask), 0.25
    steps = [retrain(pair, filters, small(iterations=n, warmup=9), noise_images).parameters for n in (1, 2)]
    averaged = retrain(pair, filters, small(iterations=2, warmup=9, ema=decay), noise_images).parameters
    expected = torch.where(selected, decay * steps[0] + (1 - decay) * steps[1], pair.baseline)
    torch.testing.assert_close(averaged, expected, rtol=0, atol=1e-7)


def test_the_result_is_an_ordinary_checkpoint_that_says_what_was_trained(pair, filters, noise_images, tmp_path):
    result = retrain(pair, filters, small(iterations=1), noise_images)
    save_retrained(tmp_path / "retrained.safetensors", pair, result, {"note": "test"})
    loaded = load_network(tmp_path / "retrained.safetensors")
    assert torch.equal(torch.cat([p.flatten() for p in loaded.network.parameters()]), result.parameters)
    card = loaded.card
    assert card["trained"]["filters"] == len(filters.selection) and card["trained"]["biases"] is False
    assert card["trained_weights"] == result.trained_weights
    assert card["settings"]["degradations"] == [["blur:2,kernel=7", 1.0]]
    assert card["baseline_sha256"] == pair.facts["baseline"]["sha256"] and card["note"] == "test"
    bare = ModelPair(pair.network(pair.baseline), pair.network(pair.target))
    with pytest.raises(UsageError, match="made of modules"):
        save_retrained(tmp_path / "other.safetensors", bare, result)


def test_a_selection_of_an_attribution_is_trained_as_it_is(pair, noise_images):
    scores = torch.arange(len(pair.space), dtype=torch.float64)
    found = Attribution("faig", pair.space, {"blur:2": scores}).select("blur:2", 10)
    result = retrain(pair, SelectedFilters(found), small(iterations=1), noise_images)
    assert result.part["selection"] == "blur:2" and result.trained_weights == 9 * len(found)


def test_a_training_that_diverges_says_where_and_what_to_do(pair, photograph, tmp_path):
    settings = small(iterations=60, learning_rate=1.0, log_every=20, checkpoint_every=20)
    with pytest.raises(FilterlensError, match=r"diverged at step 20: .* Lower the learning rate \(it was 1\)"):
        retrain(pair, AllFilters(), settings, [to_uint8(photograph)], state=tmp_path / "s.pt")
    assert not (tmp_path / "s.pt").exists()


def test_images_and_patches_that_do_not_fit_are_refused(pair, filters, noise_images):
    with pytest.raises(FilterlensError, match="There are no training images"):
        retrain(pair, filters, small(), [])
    with pytest.raises(FilterlensError, match="smaller than a patch of 64"):
        retrain(pair, filters, small(patch=64), noise_images)
    with pytest.raises(UsageError, match="patch = 17 is not a multiple of the pair's scale 2"):
        retrain(pair, filters, small(patch=17), noise_images)
    with pytest.raises(FilterlensError, match="too small for a blur kernel of 51"):
        retrain(pair, filters, small("blur:2,kernel=51"), noise_images)


def test_settings_quote_what_is_wrong():
    with pytest.raises(UsageError, match="Did you mean 'learning_rate'"):
        small(learning_rat=1e-3)
    with pytest.raises(UsageError, match="iterations = 0"):
        small(iterations=0)
    with pytest.raises(UsageError, match="Did you mean 'blur'"):
        small("blurr:2")
    with pytest.raises(UsageError, match="lacks its strength"):
        small("blur")


def test_a_degradation_falls_on_every_patch_and_a_mixture_by_its_coins():
    assert small("blur:2+noise:0.1").degradations == (("blur:2", 1.0), ("noise:0.1", 1.0))
    assert small("clean").degradations == ()
    mixture = Mixture.of([("blur:2", 0.5), ("jpeg:30", 0.25)], "bilinear")
    assert small(mixture).mixture == mixture


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_records_the_step_and_leaves_frozen_weights_alone(pair, filters, noise_images):
    notes = Killer()
    result = retrain(pair, filters, small(), noise_images, device=torch.device("cuda", 0), progress=notes)
    selected = pair.weight_mask(filters.selection.mask)
    assert notes.notes == []
    assert torch.equal(result.parameters[~selected], pair.baseline[~selected])
    assert result.parameters.device == pair.device and not torch.equal(result.parameters, pair.baseline)
