# SPDX-License-Identifier: Apache-2.0
import csv
import io
import json

import pytest

from filterlens import FilterlensError, UsageError
from filterlens.evaluation.statistics import Estimate
from filterlens.paper import drawing
from filterlens.paper.catalogue import EXPERIMENTS
from filterlens.paper.experiment import Claim, Experiment, Outcome, Table, Verdict
from filterlens.paper.page import cell_text
from filterlens.paper.recipe import PaperRecipe
from filterlens.paper.run import chosen, run_experiments
from filterlens.settings import Settings

ESTIMATE = Estimate(1.23456, 1.0, 1.5, 0.1, 3)


def good(laboratory, settings):
    return Outcome(
        claims=(Claim("One is more than zero", "paper, table 0", Verdict.HOLDS, "1 against 0"),),
        tables=(Table("numbers", "Numbers", ("what", "value"), (("a", ESTIMATE), ("b", None))),),
        panels=(drawing.bars("height", "Heights", {"a": ESTIMATE, "b": Estimate(2.0)}, "height"),),
        specification={"seeds": "3"},
    )


def bad(laboratory, settings):
    raise FilterlensError("Set 'x' is missing: `filterlens data get x`.")


@pytest.fixture
def experiments(monkeypatch):
    for name, function in {"bad": bad, "good": good}.items():
        monkeypatch.setitem(EXPERIMENTS, name, Experiment(name, f"The {name} one", "for tests", Settings, function))


@pytest.fixture
def report(experiments, laboratory, tmp_path):
    recipe = PaperRecipe("tiny", laboratory.common, {"bad": Settings(), "good": Settings()})
    return run_experiments(["bad", "good"], laboratory, recipe, tmp_path)


def test_an_experiment_that_fails_does_not_stop_the_others(report):
    assert list(report.pages) == ["good"]
    assert report.failures == {"bad": "Set 'x' is missing: `filterlens data get x`."}


def test_page_json_csv_and_figure_show_the_same_numbers(report, tmp_path):
    page = report.pages["good"].read_text()
    assert "1.23 ± 0.10 [1.00, 1.50]" in page
    assert "✔ holds" in page
    assert "figures/good-height.png" in page
    assert (tmp_path / "figures" / "good-height.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((tmp_path / "good.json").read_text())
    assert record["tables"][0]["rows"][0][1] == {"mean": 1.23456, "low": 1.0, "high": 1.5, "sd": 0.1, "n": 3}
    rows = list(csv.DictReader(io.StringIO((tmp_path / "good" / "numbers.csv").read_text())))
    assert rows[0] == {"what": "a", "value": "1.23456", "value (sd)": "0.1", "value (low)": "1", "value (high)": "1.5"}
    assert rows[1]["value"] == ""


def test_pages_say_where_they_come_from(report, tmp_path):
    record = json.loads((tmp_path / "good.json").read_text())
    assert record["recipe"] == "tiny"
    assert record["commit"]
    assert record["settings"]["common"]["pairs"] == ["tiny"]


def test_the_index_lists_claims_of_all_pages_in_the_folder(report):
    index = report.index.read_text()
    assert "| [the good one](good.md) |" in index.lower()
    assert "| One is more than zero | ✔ holds | 1 against 0 |" in index


def test_all_means_every_experiment_once():
    assert chosen(["all"]) == list(EXPERIMENTS)
    assert chosen(["masking", "masking"]) == ["masking"]


def test_an_unknown_experiment_gets_the_nearest_name():
    with pytest.raises(UsageError, match="Did you mean 'masking'"):
        chosen(["maskin"])


@pytest.mark.parametrize(
    ("checks", "verdict"),
    [([True, True], Verdict.HOLDS), ([True, False], Verdict.PARTLY), ([False], Verdict.FAILS), ([], Verdict.OPEN)],
)
def test_a_claim_holds_when_all_of_it_does(checks, verdict):
    assert Verdict.of(checks) == verdict


@pytest.mark.parametrize(
    ("cell", "text"),
    [(None, "–"), ("a", "a"), (1234, "1,234"), (0.123456, "0.123"), (Estimate(2.0), "2.00"),
     (Estimate(2.0, sd=0.5), "2.00 ± 0.50")],
)  # fmt: skip
def test_cells_are_written_for_people(cell, text):
    assert cell_text(cell) == text
