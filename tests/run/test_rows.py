# SPDX-License-Identifier: Apache-2.0
"""Tables are the fields of a class: written with the digits of their columns, and read with a place for every fault."""

import math
from dataclasses import dataclass, make_dataclass
from typing import Annotated

import pytest

from filterlens.errors import FilterlensError
from filterlens.run.rows import Amount, Column, read_rows, write_rows, write_table
from filterlens.run.tables import Damage, DamageSummary, Edit, LayerShare, NetworkQuality, RankedFilter, SelectionShare

EDIT = Edit("faig", 1.0, "blur:2")
ROWS = {
    "degradation,layer,out,in,score,rank\nblur:2,conv,3,4,0.123456789,1\nblur:2,fc,3,:,-2,2\n": [
        RankedFilter("blur:2", "conv", 3, 4, 0.1234567890123, 1),
        RankedFilter("blur:2", "fc", 3, None, -2.0, 2),
    ],
    "method,degradation,percent,layer,position,filters,selected,share\nfaig,blur:2,1,conv,0.333333,64,2,0.5\n": [
        SelectionShare("faig", "blur:2", 1, LayerShare("conv", 1 / 3, 64, 2, 0.5)),
    ],
    "method,percent,masked,input,distance,distance_reference,psnr,ssim,removal,preservation\n"
    "faig,1,blur:2,blur:2,2.5,3,inf,0.9,0.95,\n": [
        DamageSummary(EDIT, "blur:2", 2.5, 3.0, math.inf, 0.9, 0.95, None),
    ],
    "method,percent,masked,input,image,distance,distance_reference,psnr,ssim,residual,scale\n"
    "faig,1,blur:2,clean,a,1.23457,3,30,0.9,1e-09,2e+07\n": [
        Damage(EDIT, "clean", "a", 1.23456789, 3.0, 30.0, 0.9, 1e-9, 2e7),
    ],
    "network,input,psnr,ssim\ntarget,clean,30,0.9\n": [NetworkQuality("target", "clean", 30.0, 0.9)],
}


def test_tables_keep_six_digits_and_empty_cells(tmp_path):
    write_table(tmp_path / "t.csv", ("a", "b", "c"), [(1.23456789, None, "x,y"), (0, 1e-9, "")])
    assert (tmp_path / "t.csv").read_text() == 'a,b,c\n1.23457,,"x,y"\n0,1e-09,\n'


@pytest.mark.parametrize("text", ROWS, ids=lambda text: text.split("\n")[0])
def test_every_table_of_a_run_is_written_so_and_read_back(tmp_path, text):
    rows = ROWS[text]
    write_rows(tmp_path / "t.csv", type(rows[0]), rows)
    assert (tmp_path / "t.csv").read_text() == text
    again = list(read_rows(tmp_path / "t.csv", type(rows[0])))
    write_rows(tmp_path / "again.csv", type(rows[0]), again)
    assert (tmp_path / "again.csv").read_text() == text


def test_a_new_column_is_one_field_and_older_files_may_lack_it(tmp_path):
    newer = make_dataclass("Newer", [("lpips", float | None, None)], bases=(NetworkQuality,), frozen=True)
    write_rows(tmp_path / "old.csv", NetworkQuality, [NetworkQuality("target", "clean", 30.0, 0.9)])
    assert list(read_rows(tmp_path / "old.csv", newer)) == [newer("target", "clean", 30.0, 0.9, None)]
    write_rows(tmp_path / "new.csv", newer, [newer("target", "clean", 30.0, 0.9, 0.25)])
    assert (tmp_path / "new.csv").read_text() == "network,input,psnr,ssim,lpips\ntarget,clean,30,0.9,0.25\n"
    assert list(read_rows(tmp_path / "new.csv", NetworkQuality)) == [NetworkQuality("target", "clean", 30.0, 0.9)]


@dataclass(frozen=True)
class Measured:
    name: str
    count: int
    amount: Amount
    gap: float | None
    place: Annotated[int | None, Column(none=":")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a\x1b[2J,1,2,,:", r"line 3, column 'name': 'a\\x1b\[2J' is not printable text"),
        ("a,1.5,2,,:", "line 3, column 'count': '1.5' is not a whole number"),
        ("a,1,two,,:", "line 3, column 'amount': 'two' is not a number"),
        ("a,1,inf,,:", r"line 3, column 'amount': 'inf' is not a number between -1e\+15 and 1e\+15"),
        ("a,1,nan,,:", "line 3, column 'amount': 'nan' is not a number between"),
        ("a,1,1e16,,:", "line 3, column 'amount': '1e16' is not a number between"),
        ("a,1,2,wide,:", "line 3, column 'gap': 'wide' is not a number"),
        ("a,1,2,3,", "line 3, column 'place': '' is not a whole number"),
        ("a,1,2,3", "line 3: 4 cells instead of 5"),
    ],
)
def test_a_fault_is_told_with_its_line_and_column(tmp_path, line, words):
    (tmp_path / "t.csv").write_text(f"name,count,amount,gap,place\na,1,2,nan,:\n{line}\n")
    with pytest.raises(FilterlensError, match=words):
        list(read_rows(tmp_path / "t.csv", Measured))


def test_a_file_that_is_no_table_is_told(tmp_path):
    with pytest.raises(FilterlensError, match=r"Cannot read .*t\.csv"):
        list(read_rows(tmp_path / "t.csv", Measured))
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(FilterlensError, match=r"Cannot read .*t\.csv"):
        list(read_rows(tmp_path / "t.csv", Measured))
    (tmp_path / "t.csv").write_text("name,count\na,1\n")
    with pytest.raises(FilterlensError, match=r"lacks the column\(s\) amount, gap, place"):
        list(read_rows(tmp_path / "t.csv", Measured))
