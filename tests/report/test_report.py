# SPDX-License-Identifier: Apache-2.0
"""The report: one file that says what the tables say, also when that is not what one hoped for."""

import json
import re

import pytest

from filterlens import FilterlensError
from filterlens.report.build import build_report
from filterlens.report.findings import find
from filterlens.report.labels import significant
from filterlens.report.pictures import telling_window
from filterlens.run.reading import read_run


def test_report_is_one_file_without_external_requests(built):
    _, page = built
    addresses = re.findall(r"""(?:src|href|url\()\s*=?\s*["'(]?([^"')\s>]+)""", page)
    requested = [address for address in addresses if address.startswith(("http", "//")) and "arxiv.org" not in address]
    assert requested == []
    assert "<link" not in page and "@import" not in page
    assert page.count("data:image/") > 10


def test_report_stays_below_eight_megabytes_and_leaves_figures_beside_it(built):
    folder, page = built
    assert len(page) < 8e6
    assert len(list((folder / "figures").glob("*.png"))) >= 4


def test_every_section_is_there_in_order(built):
    _, page = built
    titles = re.findall(r"<h2[^>]*>([^<]+)</h2>", page)
    assert titles[:4] == [
        "Findings",
        "What it looks like",
        "Own and cross damage",
        "Damage against the number of filters",
    ]
    assert "Where the filters sit" in titles


def test_pictures_have_alternative_texts_and_tables_captions(built):
    _, page = built
    assert not re.findall(r"<img(?![^>]*\balt=)[^>]*>", page)
    assert page.count("<table") == page.count("<caption")
    assert 'scope="col"' in page and 'scope="row"' in page


def test_the_numbers_of_the_matrix_are_those_of_the_table(built):
    folder, page = built
    judged = read_run(folder).judgement
    for row in judged.damage:
        if row.edit.method == "faig":
            assert significant(row.distance) in page


def test_filters_are_written_as_pytorch_writes_them(built):
    folder, page = built
    _, first, *_ = (folder / "filters.csv").read_text().splitlines()
    _, layer, out, into, *_ = first.split(",")
    assert f"{layer}.weight[{out}, {into}]" in page


def test_names_are_escaped(make_run):
    folder = make_run()
    about = json.loads((folder / "run.json").read_text())
    about["images"][0]["name"] = "<script>alert(1)</script>"
    about["pair"]["name"] = "<b>pair</b>"
    (folder / "run.json").write_text(json.dumps(about))
    page = build_report(folder).read_text()
    assert "<script>alert(1)</script>" not in page and "&lt;script&gt;" in page
    assert "<b>pair</b>" not in page


def test_findings_say_so_when_another_method_wins(make_run, edit):
    folder = make_run()
    edit(folder / "damage.csv", lambda row: row | ({"distance": 99} if row["method"] == "ig" else {}))
    said = [finding for finding in find(read_run(folder)) if "not the best" in finding.headline]
    assert said and said[0].verdict == "fails"


def test_findings_say_so_when_cross_damage_reaches_own_damage(make_run, edit):
    folder = make_run()
    edit(folder / "damage.csv", lambda row: row | {"distance": 3})
    assert any(finding.verdict == "fails" and "specific" in finding.headline for finding in find(read_run(folder)))


def test_findings_hold_when_the_tables_say_so(make_run):
    verdicts = [finding.verdict for finding in find(read_run(make_run()))]
    assert "fails" not in verdicts and verdicts.count("holds") >= 3


@pytest.mark.parametrize(
    ("held_out", "words"), [(True, "Judged on held-out images"), (False, "Not judged on held-out")]
)
def test_report_says_whether_images_were_held_out(make_run, held_out, words):
    assert words in build_report(make_run(held_out=held_out)).read_text()


def test_without_a_judgement_the_report_names_the_command_that_adds_it(make_run):
    folder = make_run(judged=False)
    page = build_report(folder).read_text()
    assert re.search(r"filterlens mask \S*run\b", page)
    assert "Where the filters sit" in page


@pytest.mark.parametrize(
    ("missing", "command"), [("run.json", "attribute"), ("filters.csv", "attribute"), ("mask.json", "mask")]
)
def test_a_missing_file_names_the_command_that_makes_it(make_run, missing, command):
    folder = make_run()
    (folder / missing).unlink()
    with pytest.raises(FilterlensError, match=rf"(?s){missing}.*filterlens {command}"):
        build_report(folder)


def test_a_damaged_table_is_named_and_no_report_is_left(make_run):
    folder = make_run()
    (folder / "damage.csv").write_text("method,percent\nfaig,1\n")
    with pytest.raises(FilterlensError, match=r"damage\.csv.*lacks the column"):
        build_report(folder)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("degradations", [("blur:2",), ("blur:2", "noise:0.1", "jpeg:30", "blur:4,sigma_y=1,angle=30")])
def test_one_and_many_degradations(make_run, degradations):
    page = build_report(make_run(degradations=degradations)).read_text()
    assert all(degradation in page for degradation in degradations)


def test_the_enlarged_window_lies_where_the_difference_is_largest():
    import numpy as np

    difference = np.zeros((200, 160), dtype=np.float32)
    difference[150:170, 90:110] = 1
    top, left = telling_window(difference, side=60)
    assert top <= 150 and top + 60 >= 170 and left <= 90 and left + 60 >= 110
