# SPDX-License-Identifier: Apache-2.0
"""The paper's claims with the shipped pairs: found on CID22 validation images, judged on BSDS100. Minutes long."""

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image

from filterlens import ModelPair
from filterlens.data.images import center_crop, to_uint8
from filterlens.data.samples import as_samples
from filterlens.evaluation.settings import MaskSettings
from filterlens.jobs.attribute import attribute_to_folder
from filterlens.jobs.mask import mask_to_folder

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not DATA.is_dir(), reason="the benchmark images are not beside the checkout (../shared/data)"),
]
COMPARED = ("ig", "change-absolute", "change-relative", "random", "random-layer-matched")


def crops(source, destination, every, side):
    destination.mkdir()
    for sample in as_samples(source)[::every]:
        pixels = to_uint8(center_crop(sample.read(), side).float() / 255).permute(1, 2, 0).contiguous()
        Image.fromarray(pixels.numpy()).save(destination / f"{sample.name}.png")
    return destination


@pytest.fixture(scope="module", params=["srresnet-x2", "srcnn-style-x2"])
def distance(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    pair = ModelPair.pretrained(request.param)
    find = crops(DATA / "val" / "cid22", folder / "find", 5, 256)
    judge = crops(DATA / "eval" / "bsds100", folder / "judge", 10, 256)
    attribute_to_folder(pair, find, ["blur:2", "noise:0.1"], folder / "run", methods=["faig", "ig"])
    mask_to_folder(folder / "run", judge, MaskSettings(percents=[1]), pair=pair)
    torch.set_num_threads(before)
    with (folder / "run" / "damage.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {(row["method"], row["masked"], row["input"]): float(row["distance"]) for row in rows}


@pytest.mark.parametrize("degradation", ["blur:2", "noise:0.1"])
@pytest.mark.parametrize("other", COMPARED)
def test_faig_does_more_own_damage_at_one_percent(distance, degradation, other):
    assert distance["faig", degradation, degradation] > distance[other, degradation, degradation]


@pytest.mark.parametrize(("own", "other"), [("blur:2", "noise:0.1"), ("noise:0.1", "blur:2")])
def test_cross_damage_is_below_own_damage(distance, own, other):
    assert distance["faig", own, other] < distance["faig", own, own]
