# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from filterlens.degradations import Degradation
from filterlens.editing.dial import modulated
from filterlens.evaluation.function_distance import preservation, removal
from filterlens.paper.experiment import Verdict
from filterlens.paper.experiments import modulation as page
from filterlens.paper.experiments.modulation import (
    ALL_WEIGHTS,
    BLEND,
    Dials,
    ModulationSettings,
    best_claims,
    knob_claims,
    knob_name,
    knob_tables,
)
from filterlens.report.figures import LIGHT, png

SETTINGS = ModulationSettings(
    percents=(5,), strengths=(0.5, 1.25), levels=(0.5,), picture=32,
    inputs={"blur:1": ("clean", "blur:1", "blur:1.5"), "noise:0.10": ("noise:0.1",)},
)  # fmt: skip
STRENGTHS = (0.0, 0.5, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5)


@pytest.fixture(scope="module")
def outcome(laboratory):
    return page.run(laboratory, SETTINGS)


def test_the_largest_removal_and_what_is_kept_are_what_editing_by_hand_gives(laboratory, outcome):
    model = laboratory.target("tiny")
    selection = laboratory.attribute(model, ["faig"], laboratory.finding)["faig"].select("blur:1", 5)
    removed, kept = {}, {}
    for strength in (1, 0.5, 0):
        sums = np.zeros(4)
        for sample in laboratory.judging("tiny"):
            for place, name in ((0, "blur:1"), (2, "clean")):
                lowered = Degradation.parse(name).apply(sample.truth(2), 2, seed=0)
                vectors = modulated(model.pair, selection, strength), model.pair.baseline, model.pair.target
                outputs = [model.pair.run(vector, lowered) for vector in vectors]
                sums[place : place + 2] += (removal if place == 0 else preservation)(*outputs)
        removed[strength], kept[strength] = 1 - sums[0] / sums[1], 1 - sums[2] / sums[3]
    (table,) = (table for table in outcome.tables if table.name == "kept-tiny-blur-1")
    assert table.rows[0][0] == knob_name("blur:1", 5)
    assert table.rows[0][1] == pytest.approx(max(removed.values()))
    panel = next(panel for panel in outcome.panels if panel.stem == "kept-tiny-blur-1-clean")
    assert f"to {kept[0]:.3g}" in panel.alt.split(knob_name("blur:1", 5))[1]


def test_the_page_has_every_input_and_the_figures_can_be_drawn(outcome):
    tables = {table.name: table for table in outcome.tables}
    assert [row[0] for row in tables["best-tiny-blur-1"].rows] == ["clean", "blur:1", "blur:1.5"]
    assert [row[0] for row in tables["best-tiny-noise-0.1"].rows] == ["noise:0.1"]
    assert all(png(panel, LIGHT).startswith(b"\x89PNG") for panel in outcome.panels)
    assert sum(panel.stem.startswith("pictures") for panel in outcome.panels) == 2


def test_blending_outputs_keeps_what_the_formula_says_whatever_the_network(outcome):
    (table,) = (table for table in outcome.tables if table.name == "kept-tiny-noise-0.1")
    blend = next(row for row in table.rows if row[0] == BLEND)
    assert [cell.mean for cell in blend[2:]] == pytest.approx([1 - (1 - 0.5**0.5) ** 2] * 2)


def test_a_second_run_reads_everything_from_disk(laboratory, outcome, monkeypatch):
    monkeypatch.setattr("filterlens.paper.experiments.modulation.measure_knobs", None)
    assert page.run(laboratory, SETTINGS).tables == outcome.tables


def fabricated(best, images=4, spread=0.0):
    """Dials whose PSNR is a parabola with its vertex at ``best[kind]`` (± spread over the images)."""
    rows = {}
    for kind, vertex in best.items():
        masked = "blur:2" if kind.startswith("blur") else "noise:0.1"
        vertices = vertex + spread * np.linspace(-1, 1, images)
        psnr = 30 - (np.array(STRENGTHS)[:, None] - vertices) ** 2
        rows[knob_name(masked, 1.0), kind] = np.stack([psnr, *np.ones((3, *psnr.shape))])
    return Dials("tiny", INPUTS, (1.0,), STRENGTHS, tuple("abcdefgh"[:images]), rows, 200)


INPUTS = {"blur:2": ("blur:1", "blur:2", "blur:3"), "noise:0.1": ("noise:0.05", "noise:0.1")}
AS_PUBLISHED = {"blur:1": 1.0, "blur:2": 1.15, "blur:3": 1.3, "noise:0.05": 0.8, "noise:0.1": 0.9}


@pytest.mark.parametrize(
    ("changes", "verdicts"),
    [
        ({}, ["holds", "holds", "holds", "holds"]),
        ({"blur:2": 0.9}, ["does not hold", "holds", "does not hold", "holds in part"]),
        ({"noise:0.1": 1.2}, ["holds", "does not hold", "holds", "holds"]),
        ({"blur:3": 0.7, "noise:0.1": 0.8, "noise:0.05": 0.81, "blur:1": 1.2},
         ["holds", "holds", "holds", "does not hold"]),
    ],
)  # fmt: skip
def test_claims_on_the_best_strength_can_hold_and_fail(changes, verdicts):
    claims = list(best_claims(fabricated(AS_PUBLISHED | changes)))
    assert [claim.verdict.value for claim in claims] == verdicts
    assert "best λ 1.15" in next(best_claims(fabricated(AS_PUBLISHED))).evidence


def test_a_gain_beyond_one_that_only_some_images_show_is_no_gain():
    dials = fabricated(AS_PUBLISHED | {"blur:2": 1.06}, spread=0.3)
    gain = dials.gain_beyond(knob_name("blur:2", 1.0), "blur:2")
    assert gain.low < 0
    claim = next(c for c in best_claims(dials) if "beyond" in c.text)
    assert claim.verdict is Verdict.FAILS


def test_the_gain_is_judged_on_an_image_that_did_not_choose_the_strength():
    psnr = np.array([[30.0, 30, 30], [29, 31, 31.5], [33, 28, 28]])  # strengths 1, 1.1, 1.2; images in columns
    rows = {("k", "x"): np.stack([psnr] * 4)}
    dials = Dials("tiny", {}, (), (1.0, 1.1, 1.2), ("a", "b", "c"), rows, 100)
    # the others of a choose 1.1 (31.25), those of b 1.2 (30.5), those of c 1.2 (30.5)
    assert dials.gain_beyond("k", "x").mean == pytest.approx(((29 - 30) + (28 - 30) + (28 - 30)) / 3)


def test_the_interval_of_the_best_strength_covers_the_spread_of_the_images():
    best = fabricated({"blur:2": 1.1}, spread=0.15).best(knob_name("blur:2", 1.0), "blur:2")
    assert best.mean == pytest.approx(1.1)
    assert best.low < 1.08 and best.high > 1.12


def turned(kept_by_filters):
    """Dials where every knob removes 1 − λ² and DNI and blending keep as much as they remove less."""
    lines = {"clean": {}, "noise:0.1": {}}
    for knob in (knob_name("blur:2", 1.0), knob_name("noise:0.1", 1.0), ALL_WEIGHTS, BLEND):
        filters = knob not in (ALL_WEIGHTS, BLEND)
        for kind in ("blur:2", *lines):
            strengths = np.array(STRENGTHS)[:, None]
            lost = (1 - strengths) ** 2 * ((1 - kept_by_filters) if filters else 1)
            lines.setdefault(kind, {})[knob] = np.stack(
                [30 - lost, strengths**2, lost, np.ones_like(lost)]
            )  # fmt: skip
    rows = {(knob, kind): values for kind, each in lines.items() for knob, values in each.items()}
    return Dials("tiny", INPUTS, (1.0,), STRENGTHS, ("a",), rows, 10)


@pytest.mark.parametrize(("kept", "verdict"), [(0.9, Verdict.HOLDS), (-0.5, Verdict.FAILS)])
def test_the_knobs_claim_can_hold_and_fail(kept, verdict):
    claims = list(knob_claims(turned(kept), (0.5, 0.9)))
    assert [claim.verdict for claim in claims] == [verdict, verdict]
    expected = 1 - (1 - kept) * (1 - 0.1**0.5) ** 2
    assert f"the filters {expected:.2f}, all weights (DNI) {1 - (1 - 0.1**0.5) ** 2:.2f}" in claims[0].evidence


def test_a_knob_that_never_removes_enough_fails_and_is_said_to():
    dials = turned(0.9)
    knob = knob_name("blur:2", 1.0)
    weak = {key: value.copy() for key, value in dials.rows.items()}
    weak[knob, "blur:2"][1] = 1 - (1 - weak[knob, "blur:2"][1]) * 0.5  # removes half as much
    dials = replace(dials, rows=weak)
    (claim, _) = knob_claims(dials, (0.9,))
    assert claim.verdict is Verdict.PARTLY
    assert "the filters –" in claim.evidence and "they remove 50 % at most" in claim.evidence
    table = next(iter(knob_tables(dials, (0.9,))))
    assert table.rows[0] == (knob, pytest.approx(0.5), None, None)
