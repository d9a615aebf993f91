# SPDX-License-Identifier: Apache-2.0
"""What decides a judging, and what it records."""

import pytest

from filterlens import damage
from filterlens.attribution.result import load_attributions
from filterlens.attribution.settings import AttributeSettings
from filterlens.errors import UsageError
from filterlens.evaluation.settings import MaskSettings
from filterlens.jobs.attribute import attribute_to_folder
from filterlens.jobs.mask import _is_held_out, mask_to_folder
from filterlens.jobs.pairs import open_pair
from filterlens.run.rows import write_rows
from filterlens.run.tables import Damage, DamageSummary, NetworkQuality
from tests.attribution.small_networks import photographs
from tests.small_srresnet import save_small_pair


def test_held_out_is_decided_by_content_not_by_name():
    used = [{"name": "a", "sha256": "1"}, {"name": "b", "sha256": "2"}]
    assert _is_held_out([{"name": "a", "sha256": "3"}], used)
    assert not _is_held_out([{"name": "c", "sha256": "2"}], used)
    assert not _is_held_out([{"name": "c", "sha256": "3"}, {"name": "d", "sha256": "1"}], used)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pictures": -1}, r"pictures = -1"),
        ({"percents": [101]}, "101 is not a percentage"),
        ({"percents": []}, r"percents = \[\]"),
        ({"percent": [1]}, r"Did you mean 'percents'"),
    ],
)
def test_settings_that_are_not_legal_are_quoted(given, words):
    with pytest.raises(UsageError, match=words):
        MaskSettings.of(given)


def test_the_tables_of_a_run_are_those_of_one_call_in_python(tmp_path):
    images = {"noise": photographs(2, 104, 100).float()[0], "other": photographs(2, 104, 100, seed=6).float()[1]}
    save_small_pair(tmp_path, scale=2, features=4, blocks=1)
    pair = open_pair(None, tmp_path / "baseline.safetensors", tmp_path / "target.safetensors")
    settings = AttributeSettings(nodes=1, precision="fp32", seed=3)
    attribute_to_folder(pair, images, ["blur:2", "noise:0.1"], tmp_path / "run", settings=settings, allow_small=True)
    mask_to_folder(tmp_path / "run", images, MaskSettings(percents=[2, 5], controls=False, pictures=0), pair=pair)
    table = damage(pair, load_attributions(tmp_path / "run" / "scores.safetensors"), images, percent=[2, 5])
    written = tmp_path / "written"
    written.mkdir()
    for name, kind, rows in (
        ("damage.csv", DamageSummary, table.rows),
        ("damage_per_image.csv", Damage, table.images),
        ("networks.csv", NetworkQuality, table.networks),
    ):
        write_rows(written / name, kind, rows)
        assert (written / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    for name, what in (("damage", "cells"), ("damage_per_image", "images"), ("networks", "networks")):
        csv = pandas.read_csv(tmp_path / "run" / f"{name}.csv")
        pandas.testing.assert_frame_equal(table.to_pandas(what), csv, check_dtype=False, rtol=1e-5)
