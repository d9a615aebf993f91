# SPDX-License-Identifier: Apache-2.0
"""The re-training job: which images train, which judge, what is written, what is refused."""

import json
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from filterlens.attribution.result import Attribution
from filterlens.data.photographs import photograph
from filterlens.editing.retrain_settings import settings_for
from filterlens.errors import FilterlensError, UsageError
from filterlens.files import folder_lock, write_json
from filterlens.filters import Selection
from filterlens.jobs.pairs import describe_pair
from filterlens.jobs.retrain import retrain_to_folder
from filterlens.jobs.training_images import HeldOut
from filterlens.models.checkpoints import load_network, save_network
from filterlens.models.one_branch import SRResNet
from filterlens.pair import ModelPair
from filterlens.stopping import told_signals
from tests.small_srresnet import save_made_up_run
from tests.training.small import Killed, Killer

BLUR = "blur:2,kernel=7"

SETTINGS = {"methods": ["random"], "degradations": ["noise:0.1"]}  # of the run, as far as every run says them


@pytest.fixture
def folder(tmp_path):
    """A run folder of a narrow SRResNet with made-up scores, and 21 images."""
    save_made_up_run(tmp_path, (BLUR, "noise:0.1"), SETTINGS)
    astronaut = photograph("astronaut").permute(1, 2, 0).numpy()
    (tmp_path / "images").mkdir()
    for index in range(21):
        Image.fromarray(np.roll(astronaut, -15 * index, 0)[:40, 200:240]).save(tmp_path / f"images/{index:02}.png")
    return tmp_path


def retrain(folder, progress=None, iterations=2, **changes):
    settings = settings_for(
        changes.pop("degradation", BLUR), iterations=iterations, batch=1, patch=16, checkpoint_every=1
    )
    more = {"percent": 10, "device": "cpu", "precision": "fp32"} | changes
    if progress is not None:
        more["progress"] = progress
    return retrain_to_folder(folder / "run", settings, folder / "images", **more)


def test_the_job_trains_the_found_filters_and_judges_on_held_out_images(folder):
    record = retrain(folder)
    assert record["judged_on"] == ["00.png", "20.png"] and record["training_images"]["count"] == 19
    assert set(record["psnr"]) == {"baseline", "target", "retrained"}
    assert set(record["psnr"]["retrained"]) == {BLUR, "clean"}
    assert sorted(path.name for path in (folder / "run").glob("retrained*")) == [
        "retrained.json",
        "retrained.safetensors",
    ]
    written = json.loads((folder / "run/retrained.json").read_text())
    assert written["psnr"] == record["psnr"] and written["trained"]["selection"] == BLUR
    pair = ModelPair.load(folder / "baseline.safetensors", folder / "target.safetensors")
    scores = Attribution.load(folder / "run/scores.safetensors").of(BLUR)
    found = pair.weight_mask(Selection.top(pair.space, scores, 10).mask)
    weights = torch.cat([p.flatten() for p in load_network(record["weights"]).network.parameters()])
    assert torch.equal(weights[~found], pair.baseline[~found])
    assert not torch.equal(weights[found], pair.baseline[found])
    assert record["trained_weights"] == int(found.sum())


def test_parts_of_the_same_size_are_compared(folder):
    records = {
        part: retrain(folder, part=part, iterations=1, output=folder / f"{part}.safetensors")
        for part in ("found", "random", "last-layers", "low-rank", "all")
    }
    weights = {part: record["trained_weights"] for part, record in records.items()}
    assert weights["found"] == weights["random"] == weights["last-layers"]
    assert 0.9 * weights["found"] < weights["low-rank"] <= weights["found"] < weights["all"]
    assert records["found"]["trained"]["indices_sha256"] != records["random"]["trained"]["indices_sha256"]


def test_filters_found_for_another_degradation_can_be_trained(folder):
    record = retrain(folder, found_for="noise:0.1", iterations=1)
    assert record["trained"]["selection"] == "noise:0.1"
    assert record["settings"]["degradations"] == [[BLUR, 1.0]]


def test_a_killed_job_ends_with_the_same_network(folder):
    straight = retrain(folder, output=folder / "straight")
    with pytest.raises(Killed):
        retrain(folder, progress=Killer(step=2))
    assert (folder / "run/retrained.state.pt").exists()
    killer = Killer()
    resumed = retrain(folder, progress=killer)
    assert killer.steps_left == -1  # one step was left
    first, second = (load_network(record["weights"]).network.state_dict() for record in (straight, resumed))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert resumed["psnr"] == straight["psnr"]


def test_a_finished_job_is_not_repeated_and_another_one_is_refused(folder):
    first = retrain(folder)
    again = retrain(folder, progress=Killer(step=1))
    assert again["psnr"] == first["psnr"]
    with pytest.raises(UsageError, match=r"is of another re-training.*--fresh"):
        retrain(folder, iterations=3)
    assert retrain(folder, iterations=3, fresh=True)["settings"]["iterations"] == 3


@pytest.mark.parametrize("fresh", [False, True])
def test_a_network_that_was_not_re_trained_is_never_overwritten(folder, fresh):
    before = (folder / "baseline.safetensors").read_bytes()
    with pytest.raises(UsageError, match="will not be overwritten"):
        retrain(folder, output=folder / "baseline.safetensors", fresh=fresh)
    assert (folder / "baseline.safetensors").read_bytes() == before


def test_an_image_that_trains_and_judges_is_refused(folder):
    with pytest.raises(FilterlensError, match="is both a training and a validation image"):
        retrain(folder, validation=folder / "images")


def test_a_single_image_trains_and_nothing_is_judged(folder):
    single = HeldOut.of([folder / "images/00.png"], None)
    assert [path.name for path in single.training] == ["00.png"] and single.judging == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"percent": 0}, "0 % of 136 filters is no filter, .* Give --percent 0.78 or more"),
        ({"percent": 101}, "101 is not a percentage"),
        ({"part": "fuond"}, "Unknown part to train 'fuond'. Did you mean 'found'"),
        ({"found_for": "jpeg:30"}, "Unknown degradation of this attribution 'jpeg:30'"),
        ({"degradation": "noise:0.2"}, "Unknown degradation of this attribution 'noise:0.2'"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused_before_anything_is_written(folder, changes, message):
    with pytest.raises(UsageError, match=message):
        retrain(folder, **changes)
    assert not list((folder / "run").glob("retrained*"))


def test_a_folder_that_is_no_run_is_refused(folder):
    with pytest.raises(FilterlensError, match="is no run folder"):
        retrain_to_folder(folder, settings_for(BLUR, iterations=1), folder / "images")


def test_images_smaller_than_a_patch_or_a_blur_are_refused(folder):
    with pytest.raises(FilterlensError, match="40x40, smaller than a patch of 64"):
        retrain_to_folder(folder / "run", settings_for(BLUR, iterations=1), folder / "images", device="cpu")


def test_fresh_keeps_the_old_network_until_the_new_one_is_whole(folder):
    retrain(folder)
    before = {path: path.read_bytes() for path in (folder / "run").glob("retrained*")}
    with pytest.raises(Killed):
        retrain(folder, iterations=3, fresh=True, progress=Killer(step=2))
    assert all(path.read_bytes() == content for path, content in before.items())
    killer = Killer()
    assert (
        retrain(folder, iterations=3, progress=killer)["settings"]["iterations"] == 3
    )  # goes on, also without --fresh
    assert killer.steps_left == -2
    names = sorted(path.name for path in (folder / "run").glob("retrained*"))
    assert names == ["retrained.json", "retrained.safetensors"]


def test_another_fresh_training_begins_anew_after_a_killed_one(folder):
    with pytest.raises(Killed):
        retrain(folder, iterations=3, fresh=True, progress=Killer(step=2))
    killer = Killer()
    retrain(folder, iterations=4, fresh=True, progress=killer)
    assert killer.steps_left == -4


@pytest.mark.parametrize("name", ["retrained.json", "retrained.state.pt", "retrained.safetensors"])
def test_a_strangers_file_is_not_replaced(folder, name):
    (folder / "run" / name).write_text("mine")
    with pytest.raises(FilterlensError, match=r"did not write it|will not be overwritten"):
        retrain(folder, fresh=True, progress=Killer(step=1))
    assert (folder / "run" / name).read_text() == "mine"


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 100_000, '{"psnr": 3}', "\udcff"], ids=range(6))
def test_a_damaged_record_of_a_finished_training_is_told_with_the_remedy(folder, content):
    retrain(folder)
    (folder / "run/.filterlens-files.jsonl").unlink()  # else it is refused as changed
    for keep in ({"filterlens": "1", "trained": {}}, None):
        path = folder / "run/retrained.json"
        path.write_bytes(json.dumps(keep).encode() if keep else content.encode(errors="surrogateescape"))
        with pytest.raises(
            FilterlensError, match=r"retrained\.json' (is not what a re-training|in '.*' would be)"
        ) as told:
            retrain(folder)
        assert len(str(told.value)) < 500
    with pytest.raises(FilterlensError, match="changed since"):
        retrain(folder, fresh=True)


def test_a_damaged_image_is_left_out_and_listed(folder):
    (folder / "images/05.png").write_bytes(b"no image")
    record = retrain(folder)
    assert record["training_images"]["count"] == 18
    assert [entry["file"] for entry in record["left_out"]] == [str(folder / "images/05.png")]
    assert json.loads((folder / "run/retrained.json").read_text())["left_out"] == record["left_out"]


def test_a_signal_saves_and_the_same_job_goes_on(folder):
    straight = retrain(folder, output=folder / "straight", iterations=5)
    with pytest.raises(FilterlensError, match="ended by SIGTERM"), told_signals():
        retrain(folder, iterations=5, progress=Killer(step=3, signal=signal.SIGTERM))
    killer = Killer()
    resumed = retrain(folder, iterations=5, progress=killer)
    assert killer.steps_left == -2 and resumed["losses"] == straight["losses"]
    first, second = (load_network(record["weights"]).network.state_dict() for record in (straight, resumed))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_two_jobs_share_a_folder_but_not_a_file(folder):
    with folder_lock(folder / "run", "re-training", "retrained.safetensors"):
        with pytest.raises(FilterlensError, match=r"retrained\.safetensors' is in use by a re-training, process"):
            retrain(folder)
        assert retrain(folder, output=folder / "run/other.safetensors")["weights"].endswith("other.safetensors")


@pytest.mark.parametrize(
    ("output", "message"),
    [("file", "is a file, not a folder"), ("a.pth", "neither a .safetensors file"), ("b.safetensors", "is a folder")],
)
def test_an_output_of_another_kind_is_refused(folder, output, message):
    (folder / "file").write_text("mine")
    (folder / "b.safetensors").mkdir()
    with pytest.raises(UsageError, match=message):
        retrain(folder, output=folder / output)


def test_a_launcher_of_several_processes_is_refused(folder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="runs in one process"):
        retrain(folder)


def test_a_network_without_numbers_is_told_with_image_and_share(folder):
    options = {"scale": 2, "features": 4, "blocks": 1}
    files = [folder / f"{role}.safetensors" for role in ("baseline", "target")]
    network = SRResNet(**options)
    with torch.no_grad():
        network.conv_hr.bias.fill_(10)
        network.conv_last.weight.fill_(3e38)
    save_network(files[1], network, "srresnet", options, {})
    write_json(folder / "run/run.json", {"pair": describe_pair(ModelPair.load(*files)), "settings": SETTINGS})
    with pytest.raises(FilterlensError, match=r"NaN or infinity in [\d.]+% of the pixels of image '00\.png' with"):
        retrain(folder)
