# SPDX-License-Identifier: Apache-2.0
"""Pairs that nobody here prepared, end to end: attribute, mask, reopen, restore."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from filterlens import load_network
from filterlens.attribution.settings import AttributeSettings
from filterlens.data.images import read_image, write_image
from filterlens.errors import UsageError
from filterlens.evaluation.settings import MaskSettings
from filterlens.execution.tiled_network import TiledNetwork
from filterlens.jobs.attribute import attribute_to_folder
from filterlens.jobs.mask import mask_to_folder
from filterlens.jobs.pairs import RunPair, open_pair
from filterlens.jobs.restore import NetworkChoice, restore_folder
from filterlens.models.foreign import is_installed
from tests.models.foreign_networks import SCALES, write_pair

pytestmark = [
    pytest.mark.skipif(not is_installed(), reason="the extra 'archs' (spandrel) is not installed"),
    pytest.mark.filterwarnings("ignore:torch.meshgrid", "ignore:Initializing zero-element", "ignore:'saved_variables'"),
]
NAMES = ["ESRGAN", "RCAN", "SwinIR", "OmniSR", "SPAN", "Compact", "DAT", "DnCNN", "PLKSR"]


@pytest.fixture
def images(tmp_path: Path, photograph: Tensor) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = (photograph[0, :, :72, :76] * 255).round().to(torch.uint8)
    write_image(folder / "astronaut.png", pixels)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_from_two_files_to_the_edited_network(name: str, tmp_path: Path, images: Path) -> None:
    run, paths = tmp_path / "run", write_pair(name, tmp_path, change=0.1)
    facts = attribute_to_folder(
        open_pair(None, *paths),
        images,
        ["blur:2", "noise:0.1"],
        run,
        settings=AttributeSettings(nodes=5, precision="fp32"),
        allow_small=True,
    )
    assert facts["pair"]["architecture"] == f"spandrel:{name}"
    assert facts["pair"]["scale"] == SCALES.get(name, 2)
    assert facts["completeness_gap"] < 0.02
    mask_to_folder(run, images, MaskSettings(percents=[10], pictures=0, controls=False))
    assert "blur:2" in (run / "damage.csv").read_text()

    edited = NetworkChoice(run=run, without="blur:2", percent=10).open()
    pair = RunPair().open(run)
    assert json.loads((run / "run.json").read_text())["pair"]["left_out"] == list(pair.space.left_out)
    x = torch.rand(1, 3, 19, 26)
    with torch.no_grad():
        assert not torch.equal(edited(x), pair.network(pair.target)(x))

    restore_folder(images, tmp_path / "restored", edited, device=torch.device("cpu"))
    expected = (3, 72 * pair.scale, 76 * pair.scale)
    assert read_image(tmp_path / "restored" / "astronaut.png").shape == expected


@pytest.mark.parametrize("name", ["SAFMN", "Compact", "SPAN", "RCAN", "SwinIR", "ESRGAN", "HAT"])
def test_tiles_are_exact_near_or_refused_also_where_sizes_are_asked_for(name: str, tmp_path: Path) -> None:
    network = load_network(write_pair(name, tmp_path)[0]).network
    x = torch.rand(1, 3, 133, 147, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = network(x)
    tiled = TiledNetwork(network, torch.device("cpu"), tile=120)(x)
    torch.testing.assert_close(tiled, whole, rtol=1e-4, atol=1e-4)


def test_single_weights_or_no_linear_layers_are_recorded_and_reopened(tmp_path: Path, images: Path) -> None:
    run, paths = tmp_path / "run", write_pair("SwinIR", tmp_path)
    counts = {}
    for linear in ("rows", "weights", "none"):
        pair = open_pair(None, *paths, linear=linear)
        attribute_to_folder(
            pair, images, ["blur:2"], run, methods=["change-absolute"], allow_small=True, replace_other=True
        )
        again = RunPair().open(run)
        assert again.space == pair.space
        counts[linear] = len(again.space)
        assert ("linear" in again.facts) == (linear != "rows")
    assert counts["none"] < counts["rows"] < counts["weights"]
    with pytest.raises(UsageError, match="--linear are for your own checkpoints"):
        open_pair("srresnet-x2", None, None, linear="none")
