# SPDX-License-Identifier: Apache-2.0
"""Words, numbers and drawings of the report that a reader could be misled by."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from filterlens.evaluation.statistics import Estimate
from filterlens.report.build import breakable
from filterlens.report.diagrams import curves
from filterlens.report.findings import find
from filterlens.report.labels import (
    count,
    degraded,
    fixed,
    function_of,
    listed,
    percent_interval,
    significant,
    unrounded,
    whole_percent,
)
from filterlens.report.pictures import amplification_for, picture_rows
from filterlens.report.provenance import completeness, degradations, metrics
from filterlens.run.reading import read_run


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (significant(6.684), "6.68"),
        (significant(0.13442), "0.134"),
        (significant(1234.5), "1,234"),
        (significant(None), "–"),
        (significant(float("inf")), "∞"),
        (significant(4.2e-5), "4.20e−5"),
        (fixed(-0.004), "0.00"),
        (fixed(-1.5), "−1.50"),
        (whole_percent(0.97), "97 %"),
        (whole_percent(0.9996), "99.96 %"),
        (percent_interval(Estimate(0.51, 0.48, 0.996)), "51 % [48 %, 99.6 %]"),
        (percent_interval(Estimate(-0.08, -0.1, 0.0), signs=False), "−8 % [−10, 0]"),
        (percent_interval(Estimate(0.5)), "50 %"),
        (percent_interval(Estimate(float("nan"))), "–"),
        (unrounded(0.998), "0.998"),
        (unrounded(1.0), "1.00"),
        (count(151936), "151,936"),
        (function_of("blur:4,sigma_y=1,angle=30"), "deblurring"),
        (function_of("blur:2+noise:0.1"), "restoration of blur:2+noise:0.1"),
        (listed(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_numbers_and_names_are_written_for_people(written, expected):
    assert written == expected


def test_a_weak_removal_says_how_many_filters_it_would_take(make_run, edit):
    folder = make_run()
    weak = {("faig", "1"): "0.2", ("faig", "5"): "0.7"}
    edit(folder / "damage.csv", lambda row: _removal(row, weak))
    first = find(read_run(folder))[0]
    assert first.verdict == "fails"
    assert "only 20 % of the deblurring (R = 0.20)" in first.detail
    assert "at 5 %, R = 0.70" in first.detail


def test_a_negative_removal_is_not_called_a_removal(make_run, edit):
    folder = make_run()
    edit(folder / "damage.csv", lambda row: _removal(row, {("faig", "1"): "-0.4"}))
    assert "does not remove the deblurring" in find(read_run(folder))[0].detail


def _removal(row, changed):
    own = row["masked"] == row["input"]
    return row | ({"removal": changed.get((row["method"], row["percent"]), row["removal"])} if own else {})


def test_specificity_compares_damages_on_the_same_input(make_run, edit):
    folder = make_run()
    edit(folder / "damage.csv", lambda row: row | ({"distance": 1000} if row["input"] == "noise:0.1" else {}))
    said = next(finding for finding in find(read_run(folder)) if "specific" in finding.headline)
    assert "not specific on noise:0.1" in said.headline and "blur:2" not in said.headline


def test_a_function_that_was_hardly_learned_is_said_before_all_else(make_run, edit):
    folder = make_run()
    assert not any("hardly" in finding.headline for finding in find(read_run(folder)))
    weak = {"network": "target", "input": "blur:2"}
    edit(folder / "networks.csv", lambda row: row | ({"psnr": "22.85"} if weak.items() <= row.items() else {}))
    first = find(read_run(folder))[0]
    assert (first.verdict, first.headline) == ("note", "Fine-tuning hardly taught the network deblurring.")
    assert "On blur:2 the target gains 0.15 dB over the baseline" in first.detail


def test_many_degradations_are_summed_up_in_one_finding(make_run):
    folder = make_run(degradations=("blur:2", "noise:0.1", "jpeg:30"))
    assert find(read_run(folder))[0].headline.startswith("For 3 of 3 degradations")


def test_curves_show_methods_that_were_judged_but_not_attributed(make_run):
    folder = make_run()
    about = json.loads((folder / "run.json").read_text())
    about["settings"]["methods"] = ["faig"]
    (folder / "run.json").write_text(json.dumps(about))
    run = read_run(folder)
    assert run.judged_methods == ("faig", "ig", "change-absolute", "random")
    assert all("IG (input path)" in panel.alt and "random" in panel.alt for panel in curves(run))


def test_one_degradation_has_no_cross_curve(make_run):
    assert [panel.stem for panel in curves(read_run(make_run(degradations=("blur:2",))))] == ["damage-1-blur-2-own"]


def test_the_headline_gap_is_that_of_the_first_method(make_run):
    folder = make_run()
    about = json.loads((folder / "run.json").read_text())
    about["completeness"].append({"method": "taylor", "image": "baboon", "degradation": "blur:2", "gap": 0.8})
    (folder / "run.json").write_text(json.dumps(about))
    exact = completeness(read_run(folder))
    assert exact.largest == "0.31 %"
    assert exact.gaps[-1].gap == "80 %" and not exact.gaps[-1].largest


def test_metrics_may_be_a_sentence_or_a_table(make_run):
    folder = make_run()
    assert metrics(read_run(folder))[0][0] == "metrics"
    about = json.loads((folder / "mask.json").read_text())
    (folder / "mask.json").write_text(json.dumps(about | {"metrics": {"psnr": "RGB"}}))
    assert metrics(read_run(folder)) == (("psnr", "RGB"),)


def test_pictures_stand_in_reading_order_with_maps_under_the_edits(make_run):
    rows = picture_rows(read_run(make_run()))
    assert [row.input for row in rows] == ["blur:2", "noise:0.1"]
    assert [panel.kind for panel in rows[0].columns] == ["input", "baseline", "target", "own", "masked", "truth"]
    assert [bool(panel.difference) for panel in rows[0].columns] == [False, False, False, True, True, False]


def test_difference_maps_are_amplified_without_clipping_more_than_a_few_pixels():
    faint, strong = np.full((50, 50), 0.03, np.float32), np.full((50, 50), 0.11, np.float32)
    assert amplification_for([faint]) == 32
    assert amplification_for([faint, strong]) == 8


def test_long_names_break_after_commas_and_stay_escaped():
    assert breakable("blur:4,angle=30+<b>") == "blur:4,<wbr>angle=30+<wbr>&lt;b&gt;"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"pairs": {"count": 1, "folders": {"lq": ["LQ"], "gt": ["GT"]}}}, "1 pair: LQ of LQ, GT of GT"),
        ({"pairs": {"count": 2, "folders": {"lq": [], "gt": []}}}, "2 pairs: given in memory"),
        ({"pairs": 3}, "pairs (3)"),
        ({"module": "mine", "function": "add_rain", "source_sha256": "ab"}, "function add_rain of mine, SHA-256 ab"),
        ("blur:1", "blur:1"),
    ],
)
def test_a_name_says_what_it_stands_for(said, words):
    run = SimpleNamespace(degradations=("rain",), about={"settings": {"inputs": {"rain": said}}})
    assert degradations(run) == (("rain", words),)


def test_a_name_of_the_users_is_read_as_no_other_word():
    assert [function_of(name) for name in ("rain", "blur")] == [
        "restoration of inputs with 'rain'",
        "restoration of inputs with 'blur'",
    ]
    assert degraded("blur:2") == "degraded by blur:2" and degraded("jpeg") == "input with 'jpeg'"
