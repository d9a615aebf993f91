# SPDX-License-Identifier: Apache-2.0
"""Pairs in every form people hold: LQ and GT of one scene are found, cut alike, or refused by name."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

from filterlens.data.pairs import as_pairs, parse_pairs
from filterlens.data.recorded_pairs import RecordedPairs
from filterlens.data.samples import as_samples, require_scale
from filterlens.data.usable import readable
from filterlens.errors import FilterlensError, UsageError
from filterlens.run.folder import placed, places_of
from tests.data.test_channels import basicsr_y
from tests.data.test_forms import close, colours, expected
from tests.noting import Noting

NAMES = ("alpha", "beta", "gamma")


def scene(number, scale=2):
    """GT ``(H, W, 3)`` and LQ, which is every ``scale``-th pixel of it, darkened."""
    gt = colours(number, 12, 16)
    return gt, gt[::scale, ::scale] // 2


def write(folder, images):
    folder.mkdir(exist_ok=True)
    for name, levels in images.items():
        Image.fromarray(levels).save(folder / name)
    return folder


@pytest.fixture
def folders(tmp_path):
    scenes = {name: scene(number) for number, name in enumerate(NAMES)}
    lq = write(tmp_path / "lq", {f"{name}.png": scenes[name][1] for name in NAMES})
    gt = write(tmp_path / "gt", {f"{name}.bmp": scenes[name][0] for name in NAMES})
    return lq, gt


def tensors(count=3):
    """GT ``(B, 3, 12, 16)`` and LQ of the scenes."""
    gt, lq = zip(*(scene(number) for number in range(count)), strict=True)
    return tuple(torch.from_numpy(np.stack(each)).permute(0, 3, 1, 2) for each in (lq, gt))


class Basic(Dataset):
    """A dataset as BasicSR's ``PairedImageDataset``."""

    def __init__(self):
        self.lq, self.gt = tensors()

    def __len__(self):
        return len(self.lq)

    def __getitem__(self, index):
        if index >= len(self):
            raise KeyError(index)
        return {
            "lq": self.lq[index] / 255, "gt": self.gt[index] / 255,
            "lq_path": f"lq/{NAMES[index]}x2.png", "gt_path": f"gt/{NAMES[index]}.png",
        }  # fmt: skip


LQ, GT = tensors()
FORMS = {
    "two tensors": lambda: (LQ, GT),
    "two arrays, channels last": lambda: (LQ.permute(0, 2, 3, 1).numpy(), GT.permute(0, 2, 3, 1).numpy()),
    "two lists of PIL images": lambda: tuple([Image.fromarray(scene(n)[s]) for n in range(3)] for s in (1, 0)),
    "mapping": lambda: {"lq": LQ, "gt": GT},
    "mapping of tuples": lambda: {"lq": tuple(LQ), "gt": tuple(GT)},
    "mappings": lambda: (dict(zip("abc", LQ, strict=True)), dict(reversed(list(zip("abc", GT, strict=True))))),
    "list of pairs": lambda: list(zip(LQ, GT, strict=True)),
    "tuple of pairs": lambda: tuple(zip(LQ, GT, strict=True)),
    "list of mappings": lambda: [{"input": lq, "target": gt} for lq, gt in zip(LQ, GT, strict=True)],
    "generator": lambda: zip(LQ, GT, strict=True),
    "dataset": lambda: TensorDataset(LQ, GT),
    "with a label": lambda: [(lq, gt, 5) for lq, gt in zip(LQ, GT, strict=True)],
    "loader": lambda: DataLoader(TensorDataset(LQ, GT), batch_size=2),
    "BasicSR": Basic,
    "loader of BasicSR": lambda: DataLoader(Basic(), batch_size=2),
    "two datasets": lambda: (list(LQ), iter(GT)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_pairs_is_the_same_pixels(form):
    pairs = as_pairs("rain", FORMS[form]())
    assert len(pairs) == 3
    for number, pair in enumerate(pairs):
        gt, lq = scene(number)
        truth, lowered = pair.both(2, 2)
        close(truth.double(), expected(gt))
        close(lowered.double(), expected(lq))
        close(pair.truth(2).double(), expected(gt))
    assert [pair.name for pair in pairs] == (
        list(NAMES) if "BasicSR" in form else list("abc") if form == "mappings" else list("012")
    )


def test_two_folders_are_matched_by_name_whatever_the_suffix(folders):
    for given in (folders, [str(each) for each in folders], {"lq": folders[0], "gt": folders[1]}):
        pairs = as_pairs("rain", given)
        assert [pair.name for pair in pairs] == list(NAMES)
        for number, pair in enumerate(pairs):
            truth, lowered = pair.both(2, 4)
            close(truth.double(), expected(scene(number)[0]))
            close(lowered.double(), expected(scene(number)[1]))
            assert (pair.lowered_path.parent, pair.path.parent) == folders


@pytest.mark.parametrize("template", ["{}x2", "{}_lq", "lr_{}", "a{}b"])
def test_a_template_names_lq_files_and_is_suggested_but_not_guessed(tmp_path, template):
    scenes = {name: scene(number) for number, name in enumerate(NAMES)}
    lq = write(tmp_path / "lq", {f"{template.format(name)}.png": scenes[name][1] for name in NAMES})
    gt = write(tmp_path / "gt", {f"{name}.png": scenes[name][0] for name in NAMES})
    for pairs in (as_pairs("rain", (lq, gt), template=template), as_pairs("rain", (f"{lq}/{template}", gt))):
        assert [(pair.name, pair.lowered_path.stem) for pair in pairs] == [(n, template.format(n)) for n in NAMES]
    assert [pair.name for pair in as_pairs("rain", lq / template)] == list(NAMES)
    words = r"LQ without GT: .*gamma.* and GT without LQ: 'alpha', 'beta', 'gamma'\."
    with pytest.raises(FilterlensError, match=words) as caught:
        as_pairs("rain", (lq, gt))
    assert f"fit the template '{template}': give the folder of LQ as FOLDER/{template}." in str(caught.value)


def test_each_missing_partner_is_listed_up_to_eight(tmp_path):
    lq = write(tmp_path / "lq", {f"{n}.png": colours(n) for n in range(10)})
    gt = write(tmp_path / "gt", {f"{n}.png": colours(n) for n in (0, 11)})
    with pytest.raises(FilterlensError) as caught:
        as_pairs("rain", (lq, gt))
    assert str(caught.value) == (
        "Pairs for 'rain' do not match: LQ without GT: '1', '2', '3', '4', '5', '6', '7', '8', … (9 in all) and "
        "GT without LQ: '11'. Add the missing images, leave their partners out, or give a template of their names, "
        "such as LQ/{}x4."
    )


def test_several_lq_images_of_one_scene_are_pairs_of_their_own(tmp_path):
    """As in RESIDE, where ``1400_1.png`` … ``1400_10.png`` are haze over ``1400.png``."""
    gt = write(tmp_path / "gt", {f"{name}.png": scene(n)[0] for n, name in enumerate(("a", "a_b"))})
    names = {"a_1": 0, "a_2_0.9": 0, "a_b_1_0.8": 1}
    lq = write(tmp_path / "hazy", {f"{name}.png": scene(n)[1] for name, n in names.items()})
    with pytest.raises(FilterlensError, match=r"All LQ names fit the template '\{\}_\*'"):
        as_pairs("haze", (lq, gt))
    for pairs in (as_pairs("haze", (f"{lq}/{{}}_*", gt)), as_pairs("haze", (lq, gt), template="{}_*")):
        assert [(pair.name, pair.path.stem) for pair in pairs] == [("a_1", "a"), ("a_2_0.9", "a"), ("a_b_1_0.8", "a_b")]
    (gt / "a_b.png").unlink()
    (lq / "a_b_1_0.8.png").rename(lq / "c_1.png")
    with pytest.raises(FilterlensError, match=r"do not match: LQ without GT: 'c_1'\. "):
        as_pairs("haze", (lq / "{}_*", gt))


def test_both_sides_may_lie_in_one_folder_with_a_template_each(tmp_path):
    """As in RealSR, where ``Canon_001_LR4.png`` and ``Canon_001_HR.png`` lie together."""
    images = {f"{name}_{kind}.png": scene(n)[kind == "LR4"] for n, name in enumerate(NAMES) for kind in ("LR4", "HR")}
    folder = write(tmp_path / "both", images)
    pairs = as_pairs("camera", (folder / "{}_LR4", folder / "{}_HR"))
    assert [pair.name for pair in pairs] == list(NAMES)
    for number, pair in enumerate(pairs):
        close(pair.both(2, 2)[0].double(), expected(scene(number)[0]))
        close(pair.both(2, 2)[1].double(), expected(scene(number)[1]))
    (folder / "beta_HR.png").unlink()
    write(folder, {"other.png": colours(0)})
    with pytest.raises(FilterlensError, match=r"LQ without GT: 'beta_LR4', 'other' and GT without LQ: 'other'\."):
        as_pairs("camera", (folder / "{}_LR4", folder / "{}_HR"))
    for given in ((folder / "{}_LR4", folder), (folder / "{}_HR", folder / "{}_HR")):
        with pytest.raises(UsageError, match="are the same"):
            as_pairs("camera", given)


def test_pairs_are_taken_again_for_another_network():
    pairs = as_pairs("rain", (LQ, GT))
    again = as_pairs("rain", pairs, channels_in=1, channels_out=1, y=True)
    assert [pair.name for pair in again] == list("012")
    close(again[1].both(2, 2)[1].double(), basicsr_y(scene(1)[1]))
    close(as_pairs("rain", again, channels_in=1, channels_out=1)[1].both(2, 2)[0].double(), basicsr_y(scene(1)[0]))
    close(as_pairs("rain", again)[1].both(2, 2)[0].double(), expected(scene(1)[0]))
    (alone,) = as_pairs("rain", as_pairs("rain", (LQ[:1], None))[0])
    assert not alone.has_truth
    first, second = as_pairs("rain", pairs[:2])
    assert (first.fingerprint(), second.fingerprint()) == (pairs[0].fingerprint(), pairs[1].fingerprint())


def test_swapped_sides_are_told():
    (pair,) = as_pairs("rain", (GT[0], LQ[0]))
    with pytest.raises(FilterlensError, match=r"of 16x12 is not GT / 2: .* LQ is larger than GT: are they swapped\?"):
        pair.both(2, 2)


@pytest.mark.parametrize(
    ("gt", "scale", "words"),
    [
        ((12, 16), 3, r"of 8x6 is not GT / 3: GT .* has 16x12\. They fit scale 2\."),
        ((6, 8), 2, r"of 8x6 is not GT / 2: GT .* has 8x6\. They fit scale 1\."),
        ((12, 17), 1, r"of 8x6 is not GT / 1: GT .* has 17x12\. They fit scale 2\."),
        ((5, 8), 1, r"They fit no scale"),
        ((12, 20), 2, r"of 8x6 is not GT / 2: GT .* has 20x12\. They fit no scale"),
    ],
)
def test_sizes_that_do_not_fit_are_told_with_the_scale_that_would(tmp_path, gt, scale, words):
    lq = write(tmp_path / "lq", {"a.png": colours(0, 6, 8)})
    other = write(tmp_path / "gt", {"a.png": colours(1, *gt)})
    for given in ((lq, other), (colours(0, 6, 8), colours(1, *gt))):
        (pair,) = as_pairs("rain", given)
        with pytest.raises(FilterlensError, match=words) as caught:
            pair.both(scale, scale)
        with pytest.raises(FilterlensError, match=words):
            require_scale(pair.provenance(), scale)
    (pair,) = as_pairs("rain", (lq, other))
    with pytest.raises(FilterlensError) as caught:
        pair.both(scale, scale)
    assert f"LQ '{lq}/a.png'" in str(caught.value) and f"GT '{other}/a.png'" in str(caught.value)


@pytest.mark.parametrize(("scale", "multiple"), [(1, 1), (1, 4), (2, 2), (2, 8), (3, 3), (3, 12), (4, 4)])
def test_both_are_cut_at_the_right_and_lower_border_alike(scale, multiple):
    gt, lq = colours(0, 7 * scale + scale - 1, 9 * scale), colours(1, 7, 9)
    truth, lowered = as_pairs("rain", (lq, gt))[0].both(scale, multiple)
    step = multiple // scale
    height, width = 7 - 7 % step, 9 - 9 % step
    close(lowered.double(), expected(lq[:height, :width]))
    close(truth.double(), expected(gt[: height * scale, : width * scale]))


def test_a_pair_that_is_smaller_than_the_multiple_is_named():
    (pair,) = as_pairs("rain", (colours(0, 6, 8), colours(1, 12, 16)))
    with pytest.raises(UsageError, match="LQ of pair '0' of 8x6 is smaller than 8 pixels"):
        pair.both(2, 16)


@pytest.mark.parametrize(
    "given", ["folder", (LQ, None), LQ, {"lq": LQ}, {"lq": LQ, "gt": None}, [(lq, None) for lq in LQ]]
)
def test_lq_alone_has_no_truth(folders, given):
    given = folders[0] if given == "folder" else given
    for number, pair in enumerate(as_pairs("rain", given)):
        truth, lowered = pair.both(2, 2)
        assert truth is None and not pair.has_truth and pair.pixels() == 48
        close(lowered.double(), expected(scene(number)[1]))
        with pytest.raises(UsageError, match=r"has no GT image\. .* objective='target'"):
            pair.truth(2)
        assert pair.provenance()["truth"] is False and pair.fingerprint()


def test_the_fingerprint_covers_both_sides(folders):
    lq, gt = LQ[:1], GT[:1]
    kinds = [(lq, gt), (lq, gt.flip(3)), (lq.flip(3), gt), (lq, None), (gt, None)]
    found = [as_pairs("rain", each)[0].fingerprint() for each in kinds]
    assert len(set(found)) == len(found) and found[0] == as_pairs("rain", (lq.clone(), gt.clone()))[0].fingerprint()
    before = as_pairs("rain", folders)[0].fingerprint()
    Image.fromarray(colours(9, 6, 8)).save(folders[0] / "alpha.png")
    assert as_pairs("rain", folders)[0].fingerprint() != before


def test_channels_and_luma_are_those_of_each_side():
    gray = colours(3, 6, 8)[..., 0]
    gt, lq = scene(0)
    (pair,) = as_pairs("rain", (lq, gt), channels_in=1, channels_out=1, y=True)
    truth, lowered = pair.both(2, 2)
    close(truth.double(), basicsr_y(gt))
    close(lowered.double(), basicsr_y(lq))
    (pair,) = as_pairs("rain", (gray, gt), channels_in=1)
    truth, lowered = pair.both(2, 2)
    assert (truth.shape, lowered.shape) == ((1, 3, 12, 16), (1, 1, 6, 8))
    (pair,) = as_pairs("rain", (np.dstack([lq, gray]), gt), channels_in=4)
    close(pair.both(2, 2)[1].double(), expected(np.dstack([lq, gray])))
    with pytest.raises(UsageError, match=r"LQ for 'rain': Image '0' has colours"):
        as_pairs("rain", (lq, gt), channels_in=1)
    with pytest.raises(UsageError, match=r"GT for 'rain': Image '0' has colours"):
        as_pairs("rain", [(gray, gt)], channels_in=1, channels_out=1)
    with pytest.raises(UsageError, match=r"y=True makes one channel .* takes 3 and gives 3"):
        as_pairs("rain", (lq, gt), y=True)


def test_the_same_on_both_sides_is_refused(folders, tmp_path):
    lq, _ = folders
    (tmp_path / "link").symlink_to(lq)
    for given in ((lq, lq), (lq, tmp_path / "link"), (lq, f"{lq}/../lq"), (LQ, LQ)):
        with pytest.raises(UsageError, match=r"LQ and GT for 'rain' are the same"):
            as_pairs("rain", given)
    file = lq / "alpha.png"
    with pytest.raises(UsageError, match=r"LQ and GT of pair 'alpha' for 'rain' are the same file"):
        as_pairs("rain", ([file], [tmp_path / "link" / "alpha.png"]))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "There are no pairs for 'rain'"),
        ((LQ[:0], GT[:0]), "LQ for 'rain': There are no images"),
        ((LQ[:2], GT), r"For 'rain' there are 2 LQ and 3 GT images\. Sequences are matched by position"),
        ((LQ * 1.0, GT), r"LQ for 'rain': Image '0' has values .* Divide by 255"),
        ([(LQ[0], GT[0]), (LQ[1] * 1.0, GT[1])], r"LQ for 'rain': Image '1' has values .* Divide by 255"),
        ([(LQ[0], GT[0]), GT[1]], r"Item 1 of the pairs for 'rain' is Tensor, not a pair\. Give \(lq, gt\)"),
        ([(LQ[0], GT[0], GT[0])], r"Item 0 of the pairs for 'rain' is tuple of 3, not a pair"),
        ([(LQ[0],)], r"is tuple of 1, not a pair"),
        ([(None, GT[0])], r"is tuple of 2, not a pair"),
        ([{"image": LQ[0]}], r"Item 0 for 'rain': a mapping of 'image'\. Give 'lq' and 'gt'"),
        ({"rain": (LQ, GT)}, r"the pairs for 'rain': a mapping of 'rain'\. Give 'lq' and 'gt'"),
        (((LQ[0], GT[0]), (LQ[1], GT[1])), r"a tuple of two tuples: .* Give a list of tuples \(lq, gt\), or a"),
        ([[LQ[0], LQ[1]], [GT[0], GT[1]]], r"a list of two lists: .* tuples \(lq, gt\), or a tuple of two lists"),
        ((None, GT), r"Pairs for 'rain' have no LQ images"),
        (3, r"Pairs for 'rain' come as a tuple \(lq, gt\) .*, not as int"),
        (None, r"not as NoneType"),
        (("https://a.org/lq", "https://a.org/gt"), r"LQ for 'rain': 'https://a\.org/lq' is an address"),
        (({"a": LQ[0]}, [GT[0]]), r"only one side has names\. Give two folders, two mappings or two sequences"),
    ],
)
def test_what_is_no_pair_is_told_in_one_line(given, words):
    with pytest.raises(UsageError, match=re.compile(words, re.IGNORECASE)) as caught:
        as_pairs("rain", given)
    assert "\n" not in str(caught.value)


def test_folders_that_are_missing_or_empty_are_told(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    for given, words in (
        ((folders[0], tmp_path / "none"), "none' does not exist"),
        ((tmp_path / "none" / "{}x2", folders[1]), "none' does not exist"),
        ((folders[0], tmp_path / "empty"), "empty' holds no image"),
    ):
        with pytest.raises(FilterlensError, match=words):
            as_pairs("rain", given)
    for template in ("x2", "{}{}", "a/{}"):
        with pytest.raises(UsageError, match=rf"template = '{re.escape(template)}' is not legal"):
            as_pairs("rain", folders, template=template)
    with pytest.raises(UsageError, match="Two templates of names are given"):
        as_pairs("rain", (folders[0] / "{}x2", folders[1]), template="{}x4")


@pytest.mark.parametrize("side", [0, 1])
def test_an_unreadable_file_leaves_its_pair_out_unless_strict(folders, side):
    bad = sorted(folders[side].iterdir())[1]
    bad.write_bytes(b"none")
    progress = Noting()
    usable = readable(as_pairs("rain", folders), progress, strict=False)
    assert [pair.name for pair in usable.samples] == ["alpha", "gamma"]
    assert [each.name for each in usable.left_out] == ["beta"] and str(bad) in usable.left_out[0].message
    assert len(progress.notes) == 1 and str(bad) in progress.notes[0]
    assert usable.described[1]["lq"]["path"] == str(folders[0] / "gamma.png")
    with pytest.raises(FilterlensError, match="beta"):
        readable(as_pairs("rain", folders), progress, strict=True)


def test_pairs_of_another_scale_are_left_out_by_a_job_that_checks_it(folders):
    Image.fromarray(colours(1, 24, 32)).save(folders[1] / "beta.bmp")
    pairs = as_pairs("rain", folders)
    usable = readable(pairs, Noting(), strict=False, check=lambda facts: require_scale(facts, 2))
    assert [pair.name for pair in usable.samples] == ["alpha", "gamma"]
    assert "They fit scale 4" in usable.left_out[0].reason
    with pytest.raises(FilterlensError, match=r"None of the 3 images can be used\. .* They fit scale 2"):
        readable(pairs, Noting(), strict=False, check=lambda facts: require_scale(facts, 3))


def test_pairs_stay_pairs_where_images_are_taken(folders):
    pairs = as_pairs("rain", folders, channels_in=3)
    assert as_samples(pairs, channels=1) == pairs and as_samples(iter(pairs)) == pairs


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("rain=lq,gt", ("rain", "lq", "gt")),
        ("haze-2.b_C=data/lq=1,data/gt=2", ("haze-2.b_C", "data/lq=1", "data/gt=2")),
        ("rain=lq", ("rain", "lq", None)),
        ("rain=a,,b,c,,,,d", ("rain", "a,b", "c,,d")),
        ("rain=lq/{}x4,C:\\gt", ("rain", "lq/{}x4", "C:\\gt")),
    ],
)
def test_the_form_of_the_command_line_is_read(text, found):
    assert parse_pairs(text) == found


def test_the_home_folder_is_known(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert parse_pairs("rain=~/lq,~/gt") == ("rain", "/home/me/lq", "/home/me/gt")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lq,gt", r"'lq,gt' names no pairs: NAME=LQ_DIR,GT_DIR, for example rain="),
        ("", "'' names no pairs"),
        ("=lq,gt", r"'' is no name for pairs: letters, digits and -_\."),
        ("my rain=lq,gt", r"'my rain' is no name for pairs"),
        ("rain/2=lq,gt", r"'rain/2' is no name"),
        ("rain=", "leaves a folder empty"),
        ("rain=lq,", r"leaves a folder empty: .* or NAME=LQ_DIR where there is no GT"),
        ("rain=a,b,c", r"names 3 folders, not LQ and GT\. A comma in a path is written twice"),
    ],
)
def test_other_forms_of_the_command_line_are_told(text, words):
    with pytest.raises(UsageError, match=words):
        parse_pairs(text)


def test_pairs_are_read_again_from_their_record(folders, tmp_path):
    pairs = as_pairs("rain", folders)
    facts = json.loads(json.dumps(RecordedPairs.of("rain", pairs).facts()))
    assert facts["folders"] == {"lq": [str(folders[0])], "gt": [str(folders[1])]}
    again = RecordedPairs.from_facts(facts).read()
    assert [pair.name for pair in again] == list(NAMES)
    assert [pair.fingerprint() for pair in again] == [pair.fingerprint() for pair in pairs]
    folders[0].rename(tmp_path / "moved")
    with pytest.raises(
        FilterlensError, match=r"are missing or have changed: '.*alpha\.png', '.*beta\.png', '.*gamma\.png'"
    ):
        RecordedPairs.from_facts(facts).read()
    places = {str(path): tmp_path / "moved" / path.name for path in (folders[0] / f"{name}.png" for name in NAMES)}
    moved = RecordedPairs.from_facts(facts).read(
        lambda side: [Path(side["path"]), *filter(None, [places.get(side["path"])])]
    )
    assert [pair.lowered_path for pair in moved] == list(places.values())


def test_a_run_and_its_pairs_may_move_together(folders, tmp_path, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    facts = RecordedPairs.of("rain", as_pairs("rain", folders)).facts(lambda path: placed(path, run))
    home = tmp_path / "elsewhere"
    home.mkdir()
    for folder in (*folders, run):
        folder.rename(home / folder.name)
    again = RecordedPairs.from_facts(facts).read(lambda side: places_of(side, home / "run"))
    assert [pair.path.resolve() for pair in again] == [home / "gt" / f"{name}.bmp" for name in NAMES]
    for number, pair in enumerate(again):
        close(pair.both(2, 2)[1].double(), expected(scene(number)[1]))


def test_random_pairs_stay_the_same_and_are_read_once():
    class Random(Dataset):
        reads = 0

        def __len__(self):
            return 3

        def __getitem__(self, index):
            self.reads += 1
            return torch.rand(3, 4, 4), torch.rand(3, 8, 8)

    dataset = Random()
    pairs = as_pairs("rain", dataset)
    first = [pair.both(2, 2) for pair in pairs]
    for (truth, lowered), pair in zip(first, pairs, strict=True):
        again = pair.both(2, 2)
        assert torch.equal(again[0], truth) and torch.equal(again[1], lowered)
    assert dataset.reads == 3


def test_paths_that_a_dataset_does_not_know_name_nothing():
    items = [{"lq": lq, "gt": gt, "gt_path": None, "lq_path": 3} for lq, gt in zip(LQ, GT, strict=True)]
    assert [pair.name for pair in as_pairs("rain", items)] == list("012")


def test_changed_pairs_and_pairs_in_memory_are_not_read_again(folders):
    facts = RecordedPairs.of("rain", as_pairs("rain", folders[0])).facts()
    assert not RecordedPairs.from_facts(facts).read()[0].has_truth
    Image.fromarray(colours(8, 6, 8)).save(folders[0] / "beta.png")
    with pytest.raises(FilterlensError, match=r"have changed: '[^']*beta\.png'\. Put them back"):
        RecordedPairs.from_facts(facts).read()
    with pytest.raises(FilterlensError, match=r"Pair '0' for 'rain' was given in memory"):
        RecordedPairs.of("rain", as_pairs("rain", (LQ, GT))).read()
    for damaged in ({}, {"name": "rain", "pairs": [3]}, {"name": "rain", "pairs": [{"name": "a", "lq": {"path": 3}}]}):
        with pytest.raises(FilterlensError, match="is damaged"):
            RecordedPairs.from_facts(damaged)
