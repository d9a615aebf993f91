# SPDX-License-Identifier: Apache-2.0
"""The own/cross matrix: its limits are known exactly."""

import pytest
import torch

from filterlens import Selection
from filterlens.data.samples import as_samples
from filterlens.degradations import parse_degradations
from filterlens.evaluation.damage import Keeper, measure_damage, summarise_damage, summarise_quality
from filterlens.run.tables import Edit
from tests.attribution.small_networks import Curved, Linear, make_pair, photographs

INPUTS = parse_degradations(["blur:1", "noise:0.1", "clean"])


def whole(space, percent):
    return Selection.top(space, torch.arange(float(len(space))), percent)


def psnr_of(network, name, qualities):
    (found,) = (row.psnr for row in summarise_quality(qualities) if (row.network, row.input) == (network, name))
    return found


def judge(pair, selections, images=None):
    samples = as_samples(photographs() if images is None else images)
    damages, qualities = measure_damage(pair, selections, samples, INPUTS)
    return {(row.edit, row.input): row for row in summarise_damage(damages)}, damages, qualities


def test_masking_nothing_damages_nothing():
    _, _, pair = make_pair(Linear)
    edit = Edit("any", 0, "blur:1")
    cells, _, qualities = judge(pair, {edit: whole(pair.space, 0)})
    own, cross = cells[edit, "blur:1"], cells[edit, "noise:0.1"]
    assert own.distance == own.distance_reference == cross.distance == 0
    assert own.removal == 0 and own.preservation is None
    assert cross.preservation == 1 and cross.removal is None
    assert own.psnr == pytest.approx(psnr_of("target", "blur:1", qualities))


def test_masking_everything_of_a_network_without_biases_is_the_baseline():
    _, _, pair = make_pair(Linear)
    edit = Edit("any", 100, "blur:1")
    cells, _, qualities = judge(pair, {edit: whole(pair.space, 100)})
    assert cells[edit, "blur:1"].removal == 1
    assert cells[edit, "clean"].preservation == 0
    assert cells[edit, "clean"].psnr == pytest.approx(psnr_of("baseline", "clean", qualities))


def test_masking_everything_leaves_the_biases_of_the_target():
    _, _, pair = make_pair(Curved)
    edit = Edit("any", 100, "blur:1")
    cells, _, _ = judge(pair, {edit: whole(pair.space, 100)})
    assert 0 < cells[edit, "blur:1"].removal < 1


def test_removal_and_preservation_are_pooled_over_images_not_averaged_over_ratios():
    _, _, pair = make_pair(Linear)
    edit = Edit("any", 50, "blur:1")
    cells, damages, _ = judge(pair, {edit: whole(pair.space, 50)})
    rows = [row for row in damages if row.input == "blur:1"]
    assert len(rows) == 2
    pooled = 1 - sum(row.residual for row in rows) / sum(row.scale for row in rows)
    assert cells[edit, "blur:1"].removal == pytest.approx(pooled)
    assert cells[edit, "blur:1"].distance == pytest.approx(sum(row.distance for row in rows) / 2)


def test_equal_selections_are_computed_once_and_reported_for_each_edit(monkeypatch):
    _, _, pair = make_pair(Linear)
    edits = {
        Edit(method, 50, masked): whole(pair.space, 50) for method in ("a", "b") for masked in ("blur:1", "noise:0.1")
    }
    runs = []
    original = type(pair).run
    monkeypatch.setattr(type(pair), "run", lambda self, *args: runs.append(1) or original(self, *args))
    cells, _, _ = judge(pair, edits, photographs(1))
    assert len(runs) == len(INPUTS) * (2 + 1)
    assert len(cells) == 4 * len(INPUTS)
    assert cells[Edit("a", 50, "blur:1"), "blur:1"].distance == cells[Edit("b", 50, "noise:0.1"), "blur:1"].distance


def test_judging_does_not_depend_on_which_images_come_along():
    _, _, pair = make_pair()
    edit = Edit("any", 30, "noise:0.1")
    images = photographs(3)
    _, together, _ = judge(pair, {edit: whole(pair.space, 30)}, images)
    _, alone, _ = judge(pair, {edit: whole(pair.space, 30)}, {"2": images[2]})
    assert [row for row in together if row.image == "2"] == alone


def test_the_keeper_sees_what_it_wants():
    _, _, pair = make_pair()
    wanted, other = Edit("a", 10, "blur:1"), Edit("b", 20, "blur:1")
    seen = []
    keeper = Keeper(
        lambda edit: edit == wanted, lambda image, name, what, edit, pixels: seen.append((name, what, edit))
    )
    selections = {wanted: whole(pair.space, 10), other: whole(pair.space, 20)}
    measure_damage(pair, selections, as_samples(photographs(1)), INPUTS, keeper=keeper)
    for name in INPUTS:
        assert [(what, edit) for at, what, edit in seen if at == name] == [
            ("input", None), ("truth", None), ("baseline", None), ("target", None), ("masked", wanted),
        ]  # fmt: skip
