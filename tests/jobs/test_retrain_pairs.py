# SPDX-License-Identifier: Apache-2.0
"""Re-training on pairs: what trains and judges, exact resume, what a run that knows a function by pairs asks for."""

import json

import pytest
import torch
from PIL import Image

from filterlens.attribution.result import Attribution
from filterlens.cli.main import main
from filterlens.editing.retrain_settings import settings_for
from filterlens.errors import FilterlensError, UsageError
from filterlens.filters import Selection
from filterlens.jobs.retrain import retrain_to_folder, written_for
from filterlens.models.checkpoints import load_network
from filterlens.pair import ModelPair
from tests.small_srresnet import save_made_up_run
from tests.training.small import Killed, Killer

INPUTS = {
    "rain": {"pairs": {"count": 21, "folders": {"lq": [], "gt": []}}},
    "dark": {"module": "mine", "function": "dark", "source_sha256": "0"},
    "soft": "blur:2,kernel=7",
}


@pytest.fixture
def folder(tmp_path):
    """A run of a narrow SRResNet that knows rain by pairs, and 21 pairs at x2."""
    save_made_up_run(tmp_path, INPUTS, {"methods": ["random"], "degradations": list(INPUTS), "inputs": INPUTS})
    for side, size in (("lq", 16), ("gt", 32)):
        (tmp_path / side).mkdir()
        for index in range(21):
            pixels = torch.randint(0, 256, (size, size, 3), dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(tmp_path / f"{side}/{index:02}.png")
    return tmp_path


def retrain(folder, images=None, degradation="clean", **changes):
    settings = settings_for(degradation, iterations=3, batch=1, patch=16, checkpoint_every=1)
    pairs = {"rain": (str(folder / "lq"), str(folder / "gt"))}
    how = {"pairs": pairs, "percent": 10, "device": "cpu", "precision": "fp32"} | changes
    return retrain_to_folder(folder / "run", settings, images, **how)


def test_the_filters_that_were_found_for_pairs_are_trained_on_pairs(folder):
    record = retrain(folder)
    assert record["training_images"] == {"pairs": {"rain": {"count": 19, "judging": 2}}}
    assert list(record["psnr"]["retrained"]) == ["rain", "clean"] and record["trained"]["selection"] == "rain"
    assert record["judged_on"] == ["00", "20"]
    pair = ModelPair.load(folder / "baseline.safetensors", folder / "target.safetensors")
    scores = Attribution.load(folder / "run/scores.safetensors").of("rain")
    found = pair.weight_mask(Selection.top(pair.space, scores, 10).mask)
    weights = torch.cat([p.flatten() for p in load_network(record["weights"]).network.parameters()])
    assert torch.equal(weights[~found], pair.baseline[~found])
    assert not torch.equal(weights[found], pair.baseline[found])


def test_a_killed_retraining_on_pairs_gives_the_same_network(folder):
    straight = retrain(folder, output=folder / "straight")
    with pytest.raises(Killed):
        retrain(folder, output=folder / "killed", progress=Killer(step=2))
    killed = retrain(folder, output=folder / "killed")
    first, second = (load_network(each["weights"]).network.state_dict() for each in (straight, killed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    Image.new("RGB", (16, 16)).save(folder / "lq/07.png")
    with pytest.raises(UsageError, match="another re-training"):
        retrain(folder, output=folder / "killed")


def test_a_run_that_knows_a_function_by_pairs_asks_for_them(folder):
    run = folder / "run"
    assert written_for(run, "rain", {"rain": ("lq", "gt")}) == "clean"
    assert written_for(run, "blur:2", {}) == "blur:2" and written_for(run, "soft", {}) == "blur:2,kernel=7"
    with pytest.raises(UsageError, match=r"knows 'rain' by pairs: give images, --pairs rain=LQ_FOLDER,GT_FOLDER\."):
        written_for(run, "rain", {})
    with pytest.raises(UsageError, match=r"knows 'dark' by a function.* --pairs dark="):
        written_for(run, "dark", {})
    with pytest.raises(UsageError, match="--pairs names 'haze', but --degradation is 'rain'"):
        written_for(run, "rain", {"haze": ("lq", "gt")})
    with pytest.raises(FilterlensError, match="no run folder"):
        written_for(folder / "none", "rain", {})


def test_what_does_not_go_together_is_refused(folder):
    with pytest.raises(UsageError, match="--images is missing, or --pairs"):
        retrain(folder, pairs=None)
    with pytest.raises(UsageError, match="Leave --images out"):
        retrain(folder, folder / "gt")
    with pytest.raises(UsageError, match="rain and blur:2 were given"):
        retrain(folder, degradation="blur:2")
    with pytest.raises(FilterlensError, match="None of the 21 pairs for 'rain'"):
        retrain(folder, pairs={"rain": (str(folder / "gt"), str(folder / "lq"))})


def test_the_command_trains_on_pairs(folder, capsys):
    given = ("retrain", folder / "run", "--degradation", "rain", "--iterations", 2, "--batch", 1, "--patch", 16)
    assert command(*given) == 2
    assert "--pairs rain=LQ_FOLDER,GT_FOLDER" in capsys.readouterr().err
    more = ("--percent", 10, "--device", "cpu", "--pairs", f"rain={folder / 'lq'},{folder / 'gt'}")
    assert command(*given, *more) == 0
    assert "PSNR on rain:" in capsys.readouterr().out
    assert json.loads((folder / "run/retrained.json").read_text())["trained"]["selection"] == "rain"


def command(*words):
    return main([str(word) for word in words])
