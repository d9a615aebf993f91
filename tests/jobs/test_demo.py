# SPDX-License-Identifier: Apache-2.0
"""The demo runs without a network and shows what the paper claims, on photographs that were not used for finding.

CI runs the demo itself as well; this one, with its claims, takes a minute.
"""

import csv
import json
import socket

import pytest

from filterlens.errors import UsageError
from filterlens.jobs.demo import run_demo

pytestmark = pytest.mark.slow
SMALL = 96  # what the claims need; the command's own squares take minutes on slow machines


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    connect = socket.socket.connect

    def refused(*_):
        raise AssertionError("the demo used the network")

    socket.socket.connect = refused
    try:
        run_demo(folder, side=SMALL)
    finally:
        socket.socket.connect = connect
    return folder


@pytest.fixture(scope="module")
def distance(demo):
    with (demo / "damage.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {(row["method"], float(row["percent"]), row["masked"], row["input"]): float(row["distance"]) for row in rows}


def test_everything_is_written(demo):
    for name in ("report.html", "filters.csv", "damage.csv", "scores.safetensors", "run.json", "networks.csv"):
        assert (demo / name).stat().st_size > 100
    assert json.loads((demo / "mask.json").read_text())["held_out"] is True


@pytest.mark.parametrize("degradation", ["blur:2", "noise:0.1"])
@pytest.mark.parametrize("other", ["ig", "change-absolute", "change-relative", "random", "random-layer-matched"])
def test_one_percent_found_by_faig_does_more_own_damage(distance, degradation, other):
    assert distance["faig", 1, degradation, degradation] > distance[other, 1, degradation, degradation]


@pytest.mark.parametrize(("own", "other"), [("blur:2", "noise:0.1"), ("noise:0.1", "blur:2")])
def test_cross_damage_is_below_own_damage(distance, own, other):
    assert distance["faig", 1, own, other] < distance["faig", 1, own, own]
    assert distance["faig", 1, own, "clean"] < distance["faig", 1, own, own]


def test_the_demo_uses_no_strangers_folder(tmp_path):
    (tmp_path / "images" / "find").mkdir(parents=True)
    (tmp_path / "images" / "find" / "astronaut.png").write_text("mine")
    with pytest.raises(UsageError, match="is not empty: 'images'"):
        run_demo(tmp_path)
    assert (tmp_path / "images" / "find" / "astronaut.png").read_text() == "mine"
