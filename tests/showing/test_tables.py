# SPDX-License-Identifier: Apache-2.0
"""Tables for people: aligned, short, and harmless whatever the names say."""

import xml.etree.ElementTree as ElementTree

from filterlens.showing.tables import MOST, counted, html_facts, html_table, some, text_table


def test_words_begin_and_numbers_end_in_line():
    lines = text_table(["name", "number"], [["a", "1"], ["longer", "1000"]]).splitlines()
    assert lines == ["name    number", "a            1", "longer    1000"]


def test_a_long_table_says_what_it_left_out_and_where_it_is():
    rows = [[str(row), "x"] for row in range(MOST + 2)]
    text = text_table(["a", "b"], rows, more="to_pandas() has all")
    assert len(text.splitlines()) == 1 + MOST + 1
    assert text.splitlines()[-1] == "… and 2 more rows: to_pandas() has all"
    assert html_table(["a", "b"], rows).count("<tr>") == 1 + MOST


def test_names_are_shown_and_neither_obeyed_by_a_terminal_nor_by_a_browser():
    assert "\x1b" not in text_table(["a"], [["\x1b[2J"]])
    html = html_table(["a"], [["<script>alert(1)</script>"]]) + html_facts("<b>", [("<i>", "<u>")])
    assert "<script" not in html and "<b>" not in html and "<i>" not in html and "<u>" not in html


def test_the_html_is_well_formed():
    table = ElementTree.fromstring(html_table(["a", "b"], [["x", "<svg/>"]], raw=[1]))
    assert [cell.text for cell in table.iter("th")] == ["a", "b"]
    assert table.find(".//svg") is not None


def test_counts_and_names_in_words():
    assert (counted(1, "layer"), counted(151936, "filter")) == ("1 layer", "151,936 filters")
    assert some(["a", "b"]) == "a, b"
    assert some([str(number) for number in range(9)], 2) == "0, 1 and 7 more"
