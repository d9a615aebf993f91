# SPDX-License-Identifier: Apache-2.0
"""What the app computes: pictures, verdicts and adapters, the same as the jobs that do it at once; and opening."""

import math
from dataclasses import replace

import pytest
import torch

from filterlens.app import studio as module
from filterlens.app.scene import Handling, make_scene
from filterlens.app.studio import Studio, explaining, open_studio
from filterlens.diagnosis.classify import Classifier
from filterlens.editing.adapter import Adapter
from filterlens.editing.dial import modulate
from filterlens.errors import FilterlensError, UsageError
from filterlens.execution.tiled_network import TiledNetwork
from filterlens.models.checkpoints import save_network
from filterlens.models.one_branch import SRResNet
from filterlens.pair import ModelPair
from tests.app.conftest import small_studio


@pytest.fixture(scope="module")
def studio():
    small = small_studio()
    return Studio(
        ModelPair(*(small.pair.network(end) for end in (small.pair.baseline, small.pair.target))), small.found
    )


@pytest.fixture(scope="module")
def pair(studio):
    return studio.pair


@pytest.fixture
def scene(photograph):
    return make_scene("face", (photograph[0] * 255).round().to(torch.uint8), Handling(blur=1), 2)


def test_a_picture_is_that_of_the_edited_network(studio, scene):
    selection = studio.selections(5.0)["blur:2"]
    expected = TiledNetwork(modulate(studio.pair, selection, 0.3), torch.device("cpu"))(scene.image)
    (step,) = studio.restoring(scene, {"blur:2": 0.3}, 5.0)
    assert (step.done, step.total) == (1, 1)
    torch.testing.assert_close(step.picture, expected, rtol=0, atol=1e-6)


def test_tiles_come_one_by_one_and_join_to_the_whole_picture(studio, pair, scene):
    (whole,) = replace(studio, tile=1000).restoring(scene, {}, 1.0)
    steps = list(replace(studio, tile=pair.tiling.least + 12).restoring(scene, {}, 1.0))
    assert len(steps) == steps[-1].total > 1
    assert [step.picture is None for step in steps] == [True] * (len(steps) - 1) + [False]
    torch.testing.assert_close(steps[-1].picture, whole.picture, rtol=0, atol=1e-5)


def test_a_tile_below_the_least_is_taken_as_the_least(studio, pair, scene):
    least, tiny = (replace(studio, tile=tile).restoring(scene, {}, 1.0) for tile in (pair.tiling.least, 4))
    assert next(tiny).total == next(least).total


def test_the_target_comes_out_when_nothing_is_dialled(studio, scene):
    (step,) = studio.restoring(scene, {}, 1.0)
    assert torch.equal(step.picture, studio.pair.run(studio.pair.target, scene.image))


def test_a_picture_with_nan_or_infinity_is_an_error_with_name_and_share(studio, scene, monkeypatch):
    whole = studio.pair.run(studio.pair.target, scene.image)
    broken = whole.clone()
    broken[0, 0, 0, 0], broken[0, 1, 0, 0], broken[0, 2, 5, 5] = math.nan, math.nan, -math.inf
    monkeypatch.setattr(type(studio.pair), "run", lambda *_: broken)
    share = 100 * 2 / whole[0, 0].numel()
    with pytest.raises(FilterlensError, match=f"NaN or infinity for 'face', in {share:.3g} % of the pixels"):
        list(studio.restoring(scene, {}, 1.0))


def test_psnr_is_that_of_eight_bits_without_the_border(studio, scene):
    (step,) = studio.restoring(scene, {}, 1.0)
    levels = (step.picture.clamp(0, 1) * 255).round().double() / 255
    squares = (levels - scene.truth.double())[..., 2:-2, 2:-2].square()
    assert studio.psnr(scene, step.picture) == pytest.approx(-10 * math.log10(squares.mean()), abs=1e-4)
    lowered = make_scene("face", (scene.truth[0] * 255).round().to(torch.uint8), Handling(lowered=True), 2)
    assert studio.psnr(lowered, step.picture) is None


def classifier(studio):
    selections = studio.selections(5.0)
    return Classifier(studio.pair, selections, 5.0, dict.fromkeys(selections, 0.05))


def test_an_explanation_in_patches_is_the_classifiers_verdict(studio, photograph):
    image = torch.cat([photograph, photograph.flip(-1)], -1)[..., :80, :140]
    judge = classifier(studio)
    *pauses, explanation = explaining(judge, image)
    assert pauses == [None] * 4  # patches of 64x64
    (expected,) = judge.classify(image)
    assert explanation.verdict == expected
    assert explanation.shares.sum() == pytest.approx(1)
    assert explanation.shares.shape == (len(studio.pair.space),)


def test_a_small_input_is_one_patch(studio, scene):
    *pauses, explanation = explaining(classifier(studio), scene.image)
    assert pauses == [None]
    assert explanation.thresholds == {"blur:2": 0.05, "noise:0.1": 0.05}


def test_only_shares_that_the_rankings_hold_are_offered(studio, pair):
    assert studio.percents == (0.5, 1.0, 3.0, 5.0)
    found = {name: ranking[: int(len(pair.space) * 0.011)] for name, ranking in studio.found.rankings.items()}
    assert Studio(pair, type(studio.found)(found)).percents == (0.5, 1.0)


def test_an_adapter_holds_the_filters_of_one_function(tmp_path):
    studio = open_studio(scratch=tmp_path, device=torch.device("cpu"))
    path = studio.save_adapter(tmp_path, "noise:0.1", 0.5)
    assert path.name == "srresnet-x2-noise-0.1-0.5-percent.safetensors"
    expected = studio.selections(0.5)["noise:0.1"]
    assert Adapter.load(path).selection(studio.pair.space).mask.equal(expected.mask)
    before = path.stat().st_mtime_ns
    assert studio.save_adapter(tmp_path, "noise:0.1", 0.5).stat().st_mtime_ns == before  # made once
    with pytest.raises(UsageError, match=r"no filters for '\.\./\.\./etc/passwd'"):
        studio.save_adapter(tmp_path, "../../etc/passwd", 1.0)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"pair": "srresnet-x2", "run": "x"}, "Give one of --pair, --run"),
        ({"baseline": "a.pth"}, "--target is missing"),
        ({"degradations": ["blur:2"]}, "--degradation goes with --baseline"),
        ({"architecture": "my.module:build"}, "are for your own checkpoints"),
        ({"run": "x", "linear": "weights"}, "a run knows its own"),
        ({"pair": "srresnet-x3"}, "Did you mean"),
    ],
)
def test_contradictions_are_told(tmp_path, choices, message):
    with pytest.raises(UsageError, match=message):
        open_studio(scratch=tmp_path, device=torch.device("cpu"), **choices)


@pytest.fixture
def checkpoints(pair, tmp_path):
    options = {"scale": 2, "features": 8, "blocks": 2}
    paths = {role: tmp_path / f"{role}.safetensors" for role in ("baseline", "target")}
    for role, path in paths.items():
        network = pair.network(getattr(pair, role))
        assert isinstance(network, SRResNet)
        save_network(path, network, "srresnet", options, {"role": role})
    return paths


def test_filters_of_a_users_pair_are_found_first(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SIDE", 64)
    scratch = tmp_path / "scratch"
    studio = open_studio(**checkpoints, degradations=["noise:0.2"], scratch=scratch, device=torch.device("cpu"))
    assert studio.degradations == ("noise:0.2",)
    assert studio.percents == (0.5, 1.0, 3.0, 5.0)
    assert len(studio.found.rankings["noise:0.2"]) == len(studio.pair.space)
    adapter = Adapter.load(studio.save_adapter(tmp_path, "noise:0.2", 5.0))
    assert adapter.selection(studio.pair.space).mask.equal(studio.selections(5.0)["noise:0.2"].mask)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "baseline.safetensors", "pair-noise-0.2-5-percent.safetensors", "scratch", "target.safetensors",
    ]  # fmt: skip

    again = open_studio(run=scratch / "run", scratch=scratch, device=torch.device("cpu"))
    assert torch.equal(again.found.rankings["noise:0.2"], studio.found.rankings["noise:0.2"])
