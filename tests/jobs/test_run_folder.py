# SPDX-License-Identifier: Apache-2.0
"""What a run folder records."""

from filterlens.jobs.mask import _is_held_out
from filterlens.jobs.run_folder import provenance, write_table


def test_held_out_is_decided_by_content_not_by_name():
    used = [{"name": "a", "sha256": "1"}, {"name": "b", "sha256": "2"}]
    assert _is_held_out([{"name": "a", "sha256": "3"}], used)
    assert not _is_held_out([{"name": "c", "sha256": "2"}], used)
    assert not _is_held_out([{"name": "c", "sha256": "3"}, {"name": "d", "sha256": "1"}], used)


def test_tables_keep_six_digits_and_empty_cells(tmp_path):
    write_table(tmp_path / "t.csv", ("a", "b", "c"), [(1.23456789, None, "x,y"), (0, 1e-9, "")])
    assert (tmp_path / "t.csv").read_text() == 'a,b,c\n1.23457,,"x,y"\n0,1e-09,\n'


def test_provenance_names_versions_time_and_command():
    record = provenance()
    assert {"python", "torch", "numpy"} <= set(record["versions"])
    assert record["created"].endswith("+00:00") and record["command"]
