# SPDX-License-Identifier: Apache-2.0
"""The own/cross table in one call: its numbers are the formulas', whatever form the filters come in."""

import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch

from filterlens import FAIG, Attribution, DamageTable, FilterlensError, Random, Selection, UsageError, damage
from filterlens.degradations import parse_degradations
from filterlens.evaluation.damage_table import METRICS
from filterlens.run.tables import Edit
from tests.attribution.small_networks import Curved, Linear, make_pair, photographs

DEGRADATIONS = ["blur:1", "noise:0.1"]
INPUTS = parse_degradations([*DEGRADATIONS, "clean"])


def small_ranking(space, **settings):
    """Two rankings that are each other's reverse."""
    scores = torch.arange(float(len(space)))
    return Attribution("own", space, {"blur:1": scores, "noise:0.1": -scores}, settings)


def images_of_gradients(image):
    """sqrt(v² + h² + 1e-6) of the gray image at 8 bits, borders padded with zeros."""
    pixels = np.round(np.clip(image, 0, 1) * 255) / 255
    gray = np.pad(0.299 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2], 1)
    vertical, horizontal = gray[2:, 1:-1] - gray[:-2, 1:-1], gray[1:-1, 2:] - gray[1:-1, :-2]
    return np.sqrt(vertical**2 + horizontal**2 + 1e-6)


def test_the_matrix_holds_the_formulas_of_a_network_that_is_one_matrix():
    baseline, target, pair = make_pair(Linear)
    low, high = (network.mix.weight.detach().numpy()[:, :, 0, 0] for network in (baseline, target))
    images = photographs(2)
    table = damage(pair, small_ranking(pair.space), images, percent=34)  # the first 3 of 9 filters, and the last 3
    assert table.edits == (Edit("own", 34, "blur:1"), Edit("own", 34, "noise:0.1"))
    assert table.inputs == ("blur:1", "noise:0.1", "clean")
    for row, (masked, chosen) in enumerate({"blur:1": range(6, 9), "noise:0.1": range(3)}.items()):
        edited = high.copy()
        for index in chosen:
            edited[index // 3, index % 3] = low[index // 3, index % 3]
        for column, (name, degradation) in enumerate(INPUTS.items()):
            residual, whole, distances = 0.0, 0.0, []
            for image in images:
                lowered = degradation.apply(image.unsqueeze(0), 1, seed=0, resampler="bicubic")[0].numpy()
                e, b, t = (np.einsum("oi,ihw->ohw", weights, lowered) for weights in (edited, low, high))
                residual += ((e - (b if name == masked else t)) ** 2).sum()
                whole += ((t - b) ** 2).sum()
                distances.append(1000 * ((images_of_gradients(e) - images_of_gradients(t)) ** 2).mean())
            assert float(table.matrix("effect")[row, column]) == pytest.approx(1 - residual / whole, abs=1e-9)
            assert float(table.matrix("distance")[row, column]) == pytest.approx(np.mean(distances), rel=1e-6)


def test_the_effect_is_removal_on_own_inputs_and_preservation_on_all_others():
    _, _, pair = make_pair()
    table = damage(pair, small_ranking(pair.space), photographs(1), percent=30)
    own = torch.tensor([[True, False, False], [False, True, False]])
    effect, removal, preservation = (table.matrix(name) for name in ("effect", "removal", "preservation"))
    assert effect.dtype == torch.float64 and effect.shape == (2, 3)
    assert torch.equal(effect[own], removal[own]) and torch.equal(effect[~own], preservation[~own])
    assert removal[~own].isnan().all() and preservation[own].isnan().all()


def test_the_frames_hold_the_rows():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    _, _, pair = make_pair()
    table = damage(pair, small_ranking(pair.space), photographs(2), percent=[10, 30])
    frame = table.to_pandas()
    assert list(frame)[:4] == ["method", "percent", "masked", "input"] and len(frame) == 2 * 2 * 3
    for metric in METRICS[1:]:
        wide = frame.pivot(index=["method", "percent", "masked"], columns="input", values=metric)
        for edit, numbers in zip(table.edits, table.matrix(metric).tolist(), strict=True):
            assert wide.loc[edit, list(table.inputs)].tolist() == pytest.approx(numbers, nan_ok=True)
    per_image = table.to_pandas("images").groupby(["percent", "masked", "input"])["psnr"].mean()
    for row in table.rows:
        assert per_image[row.edit.percent, row.edit.masked, row.input] == pytest.approx(row.psnr)
    networks = table.to_pandas("networks")
    assert list(networks) == ["network", "input", "psnr", "ssim"] and len(networks) == 2 * 3
    assert isinstance(networks, pandas.DataFrame)


def test_a_ranking_one_selection_and_named_ones_give_the_same_numbers():
    _, _, pair = make_pair()
    ranking, images = small_ranking(pair.space), photographs(1)
    whole = damage(pair, ranking, images, percent=25)
    blur, noise = (ranking.select(name, 25) for name in DEGRADATIONS)
    alone = damage(pair, blur, images)
    assert alone.edits == (Edit("selection", 25, "blur:1"),) and alone.inputs == ("blur:1", "clean")
    assert torch.equal(alone.matrix(), whole.matrix()[:1, [0, 2]])
    named = damage(pair, {"blur:1.0": blur, "noise:0.1": Selection(pair.space, noise.indices)}, images)
    assert [edit.masked for edit in named.edits] == DEGRADATIONS
    assert torch.equal(named.matrix(), whole.matrix())
    methods = damage(pair, {"faig": blur, "other": blur, "rank": ranking}, images, DEGRADATIONS, percent=25)
    assert [(edit.method, edit.masked) for edit in methods.edits] == [
        ("faig", "blur:1"), ("other", "blur:1"), ("rank", "blur:1"), ("rank", "noise:0.1"),
    ]  # fmt: skip
    assert torch.equal(methods.matrix()[0], whole.matrix()[0, :2])


def test_filters_of_no_degradation_have_cross_damage_alone():
    _, _, pair = make_pair()
    mine = Selection(pair.space, torch.arange(5), "mine")
    table = damage(pair, mine, photographs(1), DEGRADATIONS)
    assert table.edits == (Edit("selection", 100 * 5 / 72, "mine"),)
    assert not table.matrix("preservation").isnan().any() and table.matrix("removal").isnan().all()
    with pytest.raises(UsageError, match=r"'mine' is no degradation.* give degradations="):
        damage(pair, mine, photographs(1))
    ranked = Attribution("own", pair.space, {"my rain": torch.rand(72)})
    with pytest.raises(UsageError, match=r"'my rain' is no degradation.* give degradations="):
        damage(pair, ranked, photographs(1))


def test_inputs_are_made_as_for_the_ranking_unless_told_otherwise():
    _, _, pair = make_pair(Linear)
    images, noise = photographs(1), ["noise:0.1"]
    ranking = Random(pair, seed=7).attribute([], noise)
    as_ranked = damage(pair, ranking, images, percent=50).matrix()
    assert torch.equal(as_ranked, damage(pair, ranking, images, percent=50, seed=7).matrix())
    assert not torch.equal(as_ranked, damage(pair, ranking, images, percent=50, seed=8).matrix())
    selection = ranking.select("noise:0.1", 50)
    assert torch.equal(as_ranked, damage(pair, selection, images, seed=7).matrix())
    other = Random(pair, seed=8).attribute([], noise)
    with pytest.raises(UsageError, match=r"seed 7 and protocol 'default' with seed 8: give protocol=, seed="):
        damage(pair, {"a": ranking, "b": other}, images)
    assert len(damage(pair, {"a": ranking, "b": other}, images, seed=0, percent=50).edits) == 2


def test_the_protocol_of_the_reference_down_samples_in_its_way():
    _, _, pair = make_pair(Curved)
    ranking = small_ranking(pair.space, protocol="reference")
    own, default = (damage(pair, ranking, photographs(1), percent=50, protocol=each) for each in (None, "default"))
    assert torch.equal(own.matrix(), damage(pair, ranking, photographs(1), percent=50, protocol="reference").matrix())
    assert not torch.equal(own.matrix(), default.matrix())


def test_the_table_prints_every_edit_and_both_networks():
    _, _, pair = make_pair()
    table = damage(pair, small_ranking(pair.space), photographs(1), percent=25)
    lines = repr(table).splitlines()
    assert lines[1].split() == ["replaced", "filters", "of", "blur:1", "noise:0.1", "clean"]
    own, *others = (f"{number:.3f}" for number in table.matrix()[0].tolist())
    assert lines[2].split() == ["blur:1", "R", own, *(word for number in others for word in ("P", number))]
    assert [line.split("  ")[0] for line in lines[6:]] == ["none: the baseline", "none: the target", *DEGRADATIONS]
    several = repr(damage(pair, {"a": small_ranking(pair.space)}, photographs(1), percent=[5, 25]))
    assert several.splitlines()[1].split()[0] == "%"
    html = ElementTree.fromstring(f"<html>{table._repr_html_()}</html>")
    assert len(html.findall(".//table")) == 2 and len(html.findall(".//tr")) == 3 + 5


def test_a_large_table_prints_short():
    _, _, pair = make_pair(Linear)
    table = damage(pair, small_ranking(pair.space), photographs(1), percent=range(12, 100, 2))
    assert len(repr(table).splitlines()) < 70 and "to_pandas() has all" in repr(table)


@pytest.mark.parametrize(
    ("selections", "words"),
    [
        ([], "mapping from names to them, not list"),
        ({}, "There is nothing to judge"),
        ("blur:1", "not str"),
        ({"blur:1": [1, 2]}, "'blur:1' is list"),
    ],
)
def test_other_forms_of_filters_are_refused(selections, words):
    _, _, pair = make_pair()
    with pytest.raises(UsageError, match=words):
        damage(pair, selections, photographs(1))


def test_bad_values_are_quoted():
    _, _, pair = make_pair()
    ranking, images = small_ranking(pair.space), photographs(1)
    with pytest.raises(UsageError, match="101 is not a percentage"):
        damage(pair, ranking, images, percent=101)
    with pytest.raises(UsageError, match=r"Unknown metric 'psnrr'\. Did you mean 'psnr'"):
        damage(pair, ranking, images).matrix("psnrr")
    with pytest.raises(UsageError, match="Unknown table 'image'"):
        damage(pair, ranking, images).to_pandas("image")
    with pytest.raises(UsageError, match="protocol"):
        damage(pair, ranking, images, protocol="own")
    _, _, other = make_pair(Linear)
    with pytest.raises(FilterlensError, match=r"'own' are of another network \(9 filters in 1 layer\)"):
        damage(pair, small_ranking(other.space), images)


def test_without_pandas_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"pip install pandas$"):
        DamageTable((), ()).to_pandas()


def test_judging_leaves_the_networks_and_the_ranking_as_they_are():
    baseline, target, pair = make_pair()
    ranking = FAIG(pair, nodes=1, quadrature="midpoint").attribute(photographs(1), DEGRADATIONS)
    before = [value.clone() for network in (baseline, target) for value in network.parameters()]
    before += [pair.baseline.clone(), pair.target.clone(), *(scores.clone() for scores in ranking.scores.values())]
    damage(pair, ranking, photographs(1), percent=25)
    after = [value for network in (baseline, target) for value in network.parameters()]
    after += [pair.baseline, pair.target, *ranking.scores.values()]
    assert all(map(torch.equal, before, after))
