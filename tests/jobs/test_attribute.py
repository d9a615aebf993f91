# SPDX-License-Identifier: Apache-2.0
"""The attribution job and what follows it, for any number of degradations."""

import json

import pytest
import torch
from torch import nn

from filterlens import FilterlensError, ModelPair, UsageError
from filterlens.attribution.result import as_scores
from filterlens.attribution.settings import AttributeSettings
from filterlens.data.images import to_uint8, write_image
from filterlens.degradations.inputs import Inputs
from filterlens.evaluation.settings import MaskSettings
from filterlens.files import LOCK, folder_lock
from filterlens.jobs.attribute import _made_of, attribute_to_folder
from filterlens.jobs.mask import mask_to_folder
from filterlens.jobs.pairs import describe_pair
from filterlens.record import RECORD
from filterlens.report.build import build_report
from tests.attribution.small_networks import make_pair, photographs
from tests.noting import Noting


@pytest.fixture
def pair():
    _, _, pair = make_pair()
    pair.facts = {role: {"path": role, "sha256": role, "card": {}} for role in ("baseline", "target")}
    pair.facts |= {"architecture": "curved", "options": {"scale": 2}}
    return pair


IMAGES = dict(zip(("one", "two"), photographs(2, 40, 36), strict=True))


@pytest.mark.parametrize(
    "degradations", [["blur:1"], ["blur:1", "noise:0.1", "jpeg:30"], ["blur:1+noise:0.1", "poisson:100", "clean"]]
)
def test_one_or_many_degradations_go_all_the_way_to_the_report(pair, degradations, tmp_path):
    attribute_to_folder(pair, IMAGES, degradations, tmp_path)
    mask_to_folder(tmp_path, {"three": photographs(1, 40, 36, seed=9)[0]}, MaskSettings(percents=[10]), pair=pair)
    page = build_report(tmp_path).read_text()
    assert all(degradation in page for degradation in degradations)
    inputs = len({*degradations, "clean"})
    rows = (tmp_path / "damage.csv").read_text().splitlines()
    assert len(rows) == 1 + 6 * len(degradations) * inputs


def test_a_new_ranking_never_stands_beside_an_old_proof(pair, tmp_path):
    attribute_to_folder(pair, IMAGES, ["blur:1", "noise:0.1"], tmp_path)
    mask_to_folder(tmp_path, IMAGES, MaskSettings(percents=[10]), pair=pair)
    build_report(tmp_path)
    (tmp_path / "notes.txt").write_text("the user's own")
    (tmp_path / "pictures" / "holiday.jpg").write_text("sun")
    attribute_to_folder(pair, IMAGES, ["blur:1", "noise:0.2"], tmp_path, force=True)
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    tables = {"run.json", "scores.safetensors", "scores.json", "filters.csv", "distribution.csv"}
    assert left == tables | {"notes.txt", "pictures"}
    assert [path.name for path in (tmp_path / "pictures").rglob("*")] == ["holiday.jpg"]


def test_another_ranking_is_refused_and_says_what_would_go(pair, tmp_path):
    attribute_to_folder(pair, IMAGES, ["blur:1", "noise:0.1"], tmp_path)
    mask_to_folder(tmp_path, IMAGES, MaskSettings(percents=[10]), pair=pair)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"holds a ranking of other settings.*--force.*'pictures', 'damage\.csv'"):
        attribute_to_folder(pair, IMAGES, ["blur:1", "noise:0.2"], tmp_path)
    assert contents(tmp_path) == before


def test_the_same_ranking_again_is_kept_with_its_proof(pair, tmp_path):
    first, told = attribute_to_folder(pair, IMAGES, ["blur:1", "noise:0.1"], tmp_path), Noting()
    mask_to_folder(tmp_path, IMAGES, MaskSettings(percents=[10]), pair=pair)
    before = contents(tmp_path)
    assert attribute_to_folder(pair, IMAGES, ["blur:1", "noise:0.1"], tmp_path, progress=told) == first
    assert contents(tmp_path) == before
    assert any("holds this very ranking already" in note for note in told.notes)


HOME = {"pictures/holiday.jpg": "sun", "figures/plan.svg": "house", "report.html": "letter", "mask.json": "{}",
        "run.json": "{}", "partial/draft.txt": "novel", "partial/faig-notes.safetensors": "x"}  # fmt: skip


def test_a_setting_of_a_later_version_makes_another_ranking_only_where_it_is_changed():
    class Later(AttributeSettings):
        """Settings with one more, as a later version may have them.

        Attributes:
            power: Exponent of the magnitudes.
        """

        power: float = 1.0

    assert _made_of("", Inputs({}, {}), [], Later()) == _made_of("", Inputs({}, {}), [], AttributeSettings())
    assert len({_made_of("", Inputs({}, {}), [], Later(power=power)) for power in (1.0, 2.0, 3.0)}) == 3


@pytest.mark.parametrize("names", [list(HOME), *([name] for name in HOME if not name.startswith("partial"))])
@pytest.mark.parametrize("force", [False, True])
def test_a_folder_with_strangers_files_is_refused_and_stays_as_it_is(pair, tmp_path, names, force):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(HOME[name])
    before = contents(tmp_path)
    with pytest.raises(FilterlensError, match=r"is no run folder and not empty|run\.json"):
        attribute_to_folder(pair, IMAGES, ["blur:1"], tmp_path, force=force)
    assert contents(tmp_path) == before


def test_a_strangers_file_among_the_pieces_of_work_stays(pair, tmp_path):
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / "draft.txt").write_text("novel")
    attribute_to_folder(pair, IMAGES, ["blur:1", "noise:0.1"], tmp_path)
    assert [path.name for path in (tmp_path / "partial").iterdir()] == ["draft.txt"]


def test_a_table_that_the_user_changed_is_neither_replaced_nor_deleted(pair, tmp_path):
    attribute_to_folder(pair, IMAGES, ["blur:1", "noise:0.1"], tmp_path)
    mask_to_folder(tmp_path, IMAGES, MaskSettings(percents=[10]), pair=pair)
    (tmp_path / "damage.csv").write_text("annotated by hand")
    with pytest.raises(FilterlensError, match=r"'damage\.csv'.*changed since"):
        attribute_to_folder(pair, IMAGES, ["blur:1", "noise:0.2"], tmp_path, force=True)
    with pytest.raises(FilterlensError, match=r"'damage\.csv'.*changed since"):
        mask_to_folder(tmp_path, IMAGES, MaskSettings(percents=[20]), pair=pair)
    assert (tmp_path / "damage.csv").read_text() == "annotated by hand"
    assert (tmp_path / "run.json").exists()


def test_strangers_files_in_a_run_are_left_by_mask_and_report(pair, tmp_path):
    attribute_to_folder(pair, IMAGES, ["blur:1", "noise:0.1"], tmp_path)
    (tmp_path / "mask.json").write_text("a stranger's")
    with pytest.raises(FilterlensError, match=r"'mask\.json'.*did not write it"):
        mask_to_folder(tmp_path, IMAGES, MaskSettings(percents=[10]), pair=pair)
    (tmp_path / "report.html").write_text("a letter")
    (tmp_path / "mask.json").unlink()
    with pytest.raises(FilterlensError, match=r"'report\.html'.*did not write it"):
        build_report(tmp_path)
    assert (tmp_path / "report.html").read_text() == "a letter"


def test_a_run_of_an_earlier_version_can_be_judged_but_not_replaced(pair, tmp_path):
    attribute_to_folder(pair, IMAGES, ["blur:1", "noise:0.1"], tmp_path)
    mask_to_folder(tmp_path, IMAGES, MaskSettings(percents=[10]), pair=pair)
    build_report(tmp_path)
    (tmp_path / RECORD).unlink()
    mask_to_folder(tmp_path, IMAGES, MaskSettings(percents=[20]), pair=pair)
    build_report(tmp_path)
    with pytest.raises(UsageError, match="earlier version"):
        attribute_to_folder(pair, IMAGES, ["blur:1", "noise:0.2"], tmp_path, force=True)


def test_pictures_of_an_earlier_judging_go_and_no_others(pair, tmp_path):
    attribute_to_folder(pair, IMAGES, ["blur:1", "noise:0.1"], tmp_path)
    mask_to_folder(tmp_path, {"old": IMAGES["one"]}, MaskSettings(percents=[10]), pair=pair)
    (tmp_path / "pictures" / "blur_1" / "old" / "mine.png").write_text("mine")
    mask_to_folder(tmp_path, {"new": IMAGES["two"]}, MaskSettings(percents=[10]), pair=pair)
    listed = {each["file"] for each in json.loads((tmp_path / "pictures.json").read_text())}
    there = {str(path.relative_to(tmp_path)) for path in (tmp_path / "pictures").rglob("*") if path.is_file()}
    assert there == listed | {"pictures/blur_1/old/mine.png"}


def test_one_bad_image_is_left_out_and_named(pair, tmp_path):
    images = tmp_path / "images"
    for name, image in zip("ac", photographs(2, 40, 36), strict=True):
        write_image(images / f"{name}.png", to_uint8(image))
    (images / "b.png").write_bytes((images / "a.png").read_bytes()[:200])
    facts = attribute_to_folder(pair, images, ["blur:1", "noise:0.1"], tmp_path / "run")
    assert [image["name"] for image in facts["images"]] == ["a", "c"]
    (left,) = json.loads((tmp_path / "run" / "run.json").read_text())["left_out"]
    assert left["name"] == "b" and "b.png" in left["reason"]
    record = mask_to_folder(tmp_path / "run", images, MaskSettings(percents=[10]), pair=pair).facts
    assert [image["name"] for image in record["left_out"]] == ["b"]
    with pytest.raises(FilterlensError, match=r"b\.png"):
        attribute_to_folder(pair, images, ["blur:1"], tmp_path / "strict", strict=True)


def test_a_folder_at_work_is_refused(pair, tmp_path):
    with folder_lock(tmp_path / "run", "ranking"), pytest.raises(FilterlensError, match="in use by a ranking"):
        attribute_to_folder(pair, IMAGES, ["blur:1"], tmp_path / "run")


def contents(folder):
    """Return every file below a folder with its content; the lock of a run is nobody's result."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    locked = (folder / RECORD).exists()
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if not (locked and path.name == LOCK)}


def test_a_scale_of_one_with_receptive_field_check(pair, tmp_path):
    with pytest.raises(FilterlensError, match=r"'tiny' is 8x8.*receptive field of 7"):
        attribute_to_folder(pair, {"tiny": photographs(1, 8, 8)[0]}, ["noise:0.1", "clean"], tmp_path)


def test_nobody_is_asked_for_images_as_large_as_a_huge_receptive_field(tmp_path):
    """Deep networks could see hundreds of pixels; the outer ones hardly count."""
    torch.manual_seed(0)
    networks = [nn.Sequential(*(nn.Conv2d(3, 3, 17, padding=8) for _ in range(7))) for _ in "bt"]  # sees 113
    deep, told = ModelPair(*networks, scale=1), Noting()
    deep.facts = {role: {"path": role, "sha256": role, "card": {}} for role in ("baseline", "target")}
    image = {"a": photographs(1, 48, 60)[0]}
    attribute_to_folder(deep, image, ["noise:0.1"], tmp_path, methods=["change-absolute"], progress=told)
    assert any("1 of 1 images are smaller than the network's receptive field of 113" in note for note in told.notes)
    with pytest.raises(FilterlensError, match=r"receptive field of 113.*at least 48 pixels"):
        attribute_to_folder(deep, {"a": photographs(1, 47, 60)[0]}, ["noise:0.1"], tmp_path)


def test_scores_that_are_not_finite_are_an_error():
    with pytest.raises(FilterlensError, match="not finite"):
        as_scores(torch.tensor([1.0, float("inf")]), torch.float32)


def test_the_record_names_every_layer_and_what_was_left_out(pair):
    record = describe_pair(pair)
    assert [layer["name"] for layer in record["layers"]] == ["first", "second"]
    assert sum(layer["filters"] for layer in record["layers"]) == record["filters"]
    json.dumps(record)
