# SPDX-License-Identifier: Apache-2.0
"""The shipped all-in-one network and its pairs: whole, of one size, and worth an example."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from filterlens.data.all_in_one import all_in_one
from filterlens.data.images import read_image, to_float
from filterlens.data.photographs import PHOTOGRAPHS
from filterlens.metrics import psnr

FUNCTIONS = ("noise", "rain", "dark")


def test_every_scene_has_its_four_images_of_one_size():
    for kind in (*FUNCTIONS, "gt"):
        files = {path.stem: path for path in (all_in_one() / kind).glob("*.png")}
        assert set(files) == set(PHOTOGRAPHS)
        assert all(read_image(path).shape == (3, 128, 128) for path in files.values())


def test_both_networks_are_small_sixteen_bit_and_say_how_they_were_trained():
    for role in ("baseline", "target"):
        file = all_in_one() / f"{role}.safetensors"
        assert file.stat().st_size < 1_000_000
        assert all(value.dtype == torch.float16 for value in load_file(file).values())
        with safe_open(file, framework="pt") as opened:
            assert json.loads(opened.metadata()["training"])["steps"] > 0


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_target_restores_what_the_baseline_leaves(function):
    networks = pytest.importorskip("tools.all_in_one.network", reason="the tools are not beside the tests")
    gains = []
    for scene in PHOTOGRAPHS:
        lowered, truth = (to_float(read_image(all_in_one() / kind / f"{scene}.png")) for kind in (function, "gt"))
        values = []
        for role in ("baseline", "target"):
            network = networks.Restorer()
            network.load_state_dict(load_file(all_in_one() / f"{role}.safetensors"))
            with torch.no_grad():
                values.append(float(psnr(network(lowered), truth, crop=0)))
        gains.append(values[1] - values[0])
    assert sum(gains) / len(gains) > 1
