# SPDX-License-Identifier: Apache-2.0
"""The committed pages: every number on them comes from their JSON, and can be measured again."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from filterlens.degradations import Degradation
from filterlens.errors import FilterlensError
from filterlens.evaluation.damage import measure_damage
from filterlens.evaluation.statistics import Estimate
from filterlens.execution.hardware import resolve_precision
from filterlens.pair import ModelPair
from filterlens.paper.catalogue import EXPERIMENTS
from filterlens.paper.images import Library
from filterlens.paper.page import cell_text
from filterlens.paper.settings import Common

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
SETS = ROOT.parent / "shared" / "data"
PAGES = [name for name in EXPERIMENTS if (RESULTS / f"{name}.json").is_file()]


def record(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def test_every_experiment_has_a_page_and_the_index_lists_its_claims():
    index = (RESULTS / "index.md").read_text(encoding="utf-8")
    assert list(EXPERIMENTS) == PAGES
    for name in PAGES:
        assert f"]({name}.md)" in index
        assert all(claim["text"] in index and claim["evidence"] in index for claim in record(name)["claims"])


@pytest.mark.parametrize("name", PAGES)
def test_the_page_shows_what_its_json_holds(name):
    page = (RESULTS / f"{name}.md").read_text(encoding="utf-8")
    for table in record(name)["tables"]:
        rows = (RESULTS / name / f"{table['name']}.csv").read_text(encoding="utf-8")
        assert len(list(csv.reader(io.StringIO(rows)))) == 1 + len(table["rows"])
        shown = page.split(f"### {table['title']}\n", 1)[1]
        for row in table["rows"]:
            cells = [Estimate(**cell) if isinstance(cell, dict) else cell for cell in row]
            written = {f"| {' | '.join(cell_text(cell, digits) for cell in cells)} |" for digits in (2, 3, 4, 5)}
            assert any(line in shown for line in written), row
    for claim in record(name)["claims"]:
        assert f"{claim['verdict']} | {claim['evidence']} |" in page


@pytest.mark.parametrize("name", PAGES)
def test_the_page_says_how_it_was_made_and_its_figures_are_there(name):
    page = (RESULTS / f"{name}.md").read_text(encoding="utf-8")
    assert re.search(rf"```sh\nfilterlens paper {name} --recipe \w+", page)
    figures = re.findall(r"\]\((figures/[^)]+)\)", page)
    assert figures
    assert all((RESULTS / figure).read_bytes().startswith(b"\x89PNG") for figure in figures)


@pytest.mark.parametrize("name", PAGES)
def test_no_page_names_a_place_of_one_machine(name):
    for file in (RESULTS / f"{name}.md", RESULTS / f"{name}.json"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"(/work|/tmp|/home|/root|\.\./)", text), file


def test_a_small_table_can_be_made_again():
    made = record("masking")
    common = Common.model_validate(made["settings"]["common"])
    name = common.pairs[0]
    (table,) = [each for each in made["tables"] if each["name"] == f"networks-{name}"]
    root = SETS if SETS.is_dir() else None
    try:
        samples = Library(root).samples(common.judged_on(name))
    except FilterlensError as error:
        pytest.skip(f"the images of this table are not here: {error}")
    pair = ModelPair.pretrained(name)
    precision = resolve_precision(common.judge_precision, pair.device)
    kinds = table["columns"][1:]
    inputs = {kind: Degradation.parse(kind) for kind in kinds}
    _, qualities = measure_damage(pair, {}, samples, inputs, seed=common.seed, precision=precision)
    for row in table["rows"]:
        for kind, cell in zip(kinds, row[1:], strict=True):
            found = [each.psnr for each in qualities if (each.network, each.input) == (row[0], kind)]
            # other machines round otherwise, above all where one computes in bfloat16 and the other in float32
            assert cell["mean"] == pytest.approx(sum(found) / len(found), abs=0.1)
