# SPDX-License-Identifier: Apache-2.0
"""What lies in an output folder already: own results are kept, others' files and inputs are never lost."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from filterlens import FilterlensError, UsageError
from filterlens.data.images import read_image
from filterlens.jobs.degrade import degrade_folder
from filterlens.jobs.image_folder import Rules
from filterlens.jobs.restore import network_fingerprint, restore_folder
from filterlens.models.one_branch import SRResNet
from tests.jobs.test_restore import written
from tests.noting import Noting

CPU = torch.device("cpu")


class Interrupted(nn.Module):
    """A network that is interrupted after some images."""

    def __init__(self, network, after):
        super().__init__()
        self.network, self.left = network, [after]

    def __deepcopy__(self, memo):
        return self

    def forward(self, x):
        if x.shape[-1] != 32:  # the corner on which the scale is found
            self.left[0] -= 1
        if self.left[0] < 0:
            raise KeyboardInterrupt
        return self.network(x)


@pytest.fixture
def folder(tmp_path):
    dice = np.random.default_rng(0)
    for index in range(4):
        pixels = dice.integers(0, 256, (12, 14, 3), dtype=np.uint8)
        (tmp_path / "low").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "low" / f"{index}.png")
    return tmp_path / "low"


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SRResNet(2, 8, 1).eval()


@pytest.fixture
def jobs(folder, network, tmp_path):
    """Restore and degrade with settings by name."""

    def restore(other=False, **rules):
        torch.manual_seed(1)
        chosen = SRResNet(2, 8, 1).eval() if other else network
        return restore_folder(folder, tmp_path / "out", chosen, device=CPU, rules=Rules(**rules))

    def degrade(other=False, **rules):
        return degrade_folder(folder, tmp_path / "out", ["blur:2" if other else "blur:1"], rules=Rules(**rules))

    return {"restore": restore, "degrade": degrade}


def test_a_killed_job_goes_on_where_it_stopped(folder, network, tmp_path):
    killed = Interrupted(network, 2)
    with pytest.raises(KeyboardInterrupt):
        restore_folder(folder, tmp_path / "out", killed, device=CPU)
    there = written(tmp_path / "out")
    assert there == ["0.png", "1.png"]
    before = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in there}
    killed.left[0] = 99
    done = restore_folder(folder, tmp_path / "out", killed, device=CPU)
    assert [path.name for path in done.kept] == there and written(tmp_path / "out") == [f"{n}.png" for n in range(4)]
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in there} == before
    assert killed.left[0] == 97, "only the other two were computed"


@pytest.mark.parametrize("job", ["restore", "degrade"])
def test_own_results_are_kept_and_all_are_named(jobs, job, tmp_path):
    first = jobs[job]()
    again = jobs[job]()
    assert first.files == again.files == again.kept and not first.kept


@pytest.mark.parametrize("job", ["restore", "degrade"])
def test_results_of_other_settings_are_refused_before_anything_is_computed(jobs, job, tmp_path, folder):
    jobs[job]()
    (tmp_path / "out" / "0.png").unlink()
    before = {name: (tmp_path / "out" / name).read_bytes() for name in written(tmp_path / "out")}
    with pytest.raises(FilterlensError, match=r"1\.png' exists already, made with other settings.*--force.*--skip"):
        jobs[job](other=True)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in written(tmp_path / "out")} == before
    assert len(jobs[job](other=True, force=True).files) == 4
    assert len(jobs[job](other=True).kept) == 4


def test_the_refusal_says_what_differs_and_the_remedy(jobs, folder, network, tmp_path):
    jobs["restore"]()
    remedy = r"\. Give another output, --force to overwrite, or --skip-existing to keep what is there\."
    with pytest.raises(
        FilterlensError, match=rf"0\.png' exists already, made with other settings \(another network\){remedy}"
    ):
        jobs["restore"](other=True)
    with pytest.raises(FilterlensError, match=r"\(precision fp32, now bf16\)"):
        restore_folder(folder, tmp_path / "out", network, device=CPU, precision="bf16")
    with pytest.raises(FilterlensError, match=r"\(precision fp32, now bf16; blend 0, now 8; tile none, now 40\)"):
        restore_folder(folder, tmp_path / "out", network, device=CPU, precision="bf16", blend=8, tile=40)
    with pytest.raises(FilterlensError, match="exists already, made by `filterlens restore`"):
        jobs["degrade"]()
    Image.new("RGB", (12, 12), "red").save(folder / "2.png")
    with pytest.raises(FilterlensError, match=r"2\.png' exists already, made of another image\."):
        jobs["restore"]()


@pytest.mark.parametrize("job", ["restore", "degrade"])
def test_a_result_of_another_image_is_not_taken_for_this_one(jobs, job, folder):
    jobs[job]()
    Image.new("RGB", (12, 12), "red").save(folder / "2.png")
    with pytest.raises(FilterlensError, match=r"2\.png' exists already"):
        jobs[job]()


@pytest.mark.parametrize("job", ["restore", "degrade"])
def test_a_strangers_file_and_an_edited_result_are_never_overwritten_without_force(jobs, job, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "3.png").write_text("a letter")
    with pytest.raises(FilterlensError, match=r"3\.png' exists already and was not made by filterlens"):
        jobs[job]()
    assert written(tmp_path / "out") == ["3.png"]
    done = jobs[job](skip_existing=True)
    assert (tmp_path / "out" / "3.png").read_text() == "a letter" and len(done.kept) == 1
    (tmp_path / "out" / "1.png").write_text("edited")
    with pytest.raises(FilterlensError, match=r"1\.png' exists already, changed since"):
        jobs[job]()
    jobs[job](force=True)
    assert len(jobs[job]().kept) == 4


def test_an_input_is_never_an_output(folder, network, tmp_path):
    for output in (folder, folder / ".." / "low"):
        with pytest.raises(UsageError, match="Input and output are both"):
            restore_folder(folder, output, network, device=CPU, rules=Rules(force=True))
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(UsageError, match="Input and output are both"):
        restore_folder(folder, tmp_path / "link", network, device=CPU, rules=Rules(force=True))
    with pytest.raises(UsageError, match="Input and output are both"):
        restore_folder(folder / "1.png", tmp_path / "link" / "1.png", network, device=CPU, rules=Rules(force=True))
    before = (folder / "1.png").read_bytes()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.png").symlink_to(folder / "1.png")
    restore_folder(folder, tmp_path / "out", network, device=CPU, rules=Rules(force=True))
    assert (folder / "1.png").read_bytes() == before and read_image(tmp_path / "out" / "1.png").shape == (3, 24, 28)


def test_force_and_skip_existing_contradict_each_other(jobs):
    with pytest.raises(UsageError, match="--force overwrites what --skip-existing keeps"):
        jobs["restore"](force=True, skip_existing=True)


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_computed(folder, network, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FilterlensError, match="file' is no folder"):
        restore_folder(folder, tmp_path / "file" / "out", network, device=CPU)
    with pytest.raises(UsageError, match="is a file, not a folder"):
        restore_folder(folder, tmp_path / "file", network, device=CPU)


def test_subfolders_are_mirrored_and_the_output_in_the_input_is_no_input(folder, network):
    (folder / "a" / "b").mkdir(parents=True)
    Image.new("RGB", (12, 12), "red").save(folder / "a" / "b" / "0.webp", lossless=True)
    for kept in (0, 5):
        done = restore_folder(folder, folder / "out", network, device=CPU, rules=Rules(recursive=True))
        assert len(done.kept) == kept
        assert written(folder / "out") == ["0.png", "1.png", "2.png", "3.png", "a/b/0.webp"]


@pytest.mark.parametrize("name", ["x.jpg", "x.JPEG", "x.tif", "x.bmp", "x.webp", "x.png"])
def test_an_output_called_like_an_image_is_a_file(folder, network, tmp_path, name):
    done = restore_folder(folder / "0.png", tmp_path / "new" / name, network, device=CPU)
    assert done.files == [tmp_path / "new" / name] and read_image(done.files[0]).shape == (3, 24, 28)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name], "nothing is left beside a single file"
    with pytest.raises(FilterlensError, match="exists already"):
        restore_folder(folder / "0.png", tmp_path / "new" / name, network, device=CPU)


def test_a_folder_called_like_an_image_stays_a_folder(folder, network, tmp_path):
    (tmp_path / "x.jpg").mkdir()
    restore_folder(folder / "0.png", tmp_path / "x.jpg", network, device=CPU)
    assert written(tmp_path / "x.jpg") == ["0.png"]


def test_outputs_that_cannot_be_are_refused_with_the_legal_ones(folder, network, tmp_path):
    for name in ("x.gif", "x.ppm", "x.jp2"):
        with pytest.raises(UsageError, match=r"cannot be written. Legal: \.png, \.webp, \.jpg"):
            restore_folder(folder / "0.png", tmp_path / name, network, device=CPU)
    with pytest.raises(UsageError, match=r"called like one image, but .* is a folder"):
        degrade_folder(folder, tmp_path / "x.png", ["blur:1"])
    with pytest.raises(UsageError, match=r"there are 2 degradations\. Give a folder"):
        degrade_folder(folder / "0.png", tmp_path / "x.png", ["blur:1", "noise:0.1"])
    assert not list(tmp_path.glob("x.*"))


@pytest.mark.parametrize("name", ["-dash.png", "two words ü.png", "12:30.png", "line\nbreak.png", "[red]\x1b[2J.png"])
def test_names_of_every_kind_are_restored_and_recognised(network, tmp_path, name):
    (tmp_path / "odd").mkdir()
    Image.new("RGB", (12, 12), "red").save(tmp_path / "odd" / name)
    for kept in (0, 1):
        progress = Noting()
        done = restore_folder(tmp_path / "odd", tmp_path / "out", network, device=CPU, progress=progress)
        assert [path.name for path in done.files] == [name] and len(done.kept) == kept
        assert all(note.isprintable() for note in progress.notes)


def test_a_fingerprint_changes_with_weights_statistics_settings_and_structure():
    def make(factor=1.0, slope=0.1, channels=4):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, channels, 3), nn.BatchNorm2d(channels), nn.LeakyReLU(slope))
        network.factor = factor
        return network

    same = network_fingerprint(make())
    assert network_fingerprint(make().train()) == network_fingerprint(make().eval()) == same
    weights, statistics = make(), make()
    with torch.no_grad():
        weights[0].weight[0, 0, 0, 0] += 1e-3
        statistics[1].running_mean[0] += 1e-3
    others = [weights, statistics, make(factor=2.0), make(slope=0.2), make(channels=5)]
    assert len({same, *map(network_fingerprint, others)}) == 6
