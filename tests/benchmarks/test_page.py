# SPDX-License-Identifier: Apache-2.0
"""The page and the records: everything shown comes from files, and unmet goals are said plainly."""

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.catalogue import CATALOGUE
from benchmarks.harness.benchmark import Findings
from benchmarks.harness.machine import this_machine
from benchmarks.harness.record import Record, read_record
from benchmarks.harness.settings import Settings
from benchmarks.limit import BENCHMARK, NEAR
from benchmarks.page import read_records, render
from filterlens.errors import FilterlensError

ROW = {
    "side": 240,
    "precision": "bf16",
    "pass_ms": 150.0,
    "convolutions_ms": 100.0,
    "ratio": 1.5,
    "spread": 0.07,
    "pass_tflops": 0.25,
    "convolutions_tflops": 0.375,
    "matmul_tflops": None,
}


@pytest.fixture
def record():
    return Record(
        benchmark="limit",
        created="2026-01-02T03:04:05+00:00",
        command="python -m benchmarks limit --threads 2",
        quick=False,
        seconds=61.0,
        machine=this_machine(torch.device("cpu")),
        rows=(ROW,),
        verdicts=(NEAR.judge(1.5),),
        notes=("One remark.",),
    )


@pytest.mark.parametrize("benchmark", CATALOGUE.values(), ids=CATALOGUE)
def test_every_benchmark_explains_itself_and_has_goals_and_columns(benchmark):
    assert len(benchmark.explanation) > 100
    assert all(goal.text.partition(": at ")[2] for goal in benchmark.goals)
    assert benchmark.goals
    assert len({column.key for column in benchmark.columns}) == len(benchmark.columns) > 2


def test_a_record_must_hold_machine_and_command():
    schema = Record.model_json_schema()
    assert {"machine", "command", "created", "rows", "verdicts"} <= set(schema["required"])
    parts = set(schema["$defs"]["Machine"]["required"])
    assert {"cpu", "cores", "threads", "amx_bf16", "avx512_bf16", "memory_gib", "gpu", "commit", "torch"} <= parts


def test_a_record_survives_the_disk_and_a_foreign_file_is_refused(record, tmp_path):
    assert read_record(record.write(tmp_path)) == record
    (tmp_path / "growth.json").write_text('{"benchmark": "growth"}')
    with pytest.raises(FilterlensError, match=r"growth\.json' is no record of a benchmark"):
        read_records(tmp_path)


def test_the_page_shows_table_machine_command_and_says_an_unmet_goal_plainly(record, tmp_path):
    record.write(tmp_path)
    page = render(read_records(tmp_path))
    assert "| 240 | bf16 | 150.0 | 100.0 | 1.50 | 7% | 0.250 | 0.375 | – |" in page
    assert f"- Goal **NOT MET**: {NEAR.text}; measured 1.50." in page
    assert f"| [limit](#limit) | {NEAR.text} | 1.50 | **NOT MET** |" in page
    assert "`python -m benchmarks limit --threads 2` on 2026-01-02, 61 s." in page
    assert record.machine.text in page
    assert "One remark." in page
    assert page.count("Not measured yet.") == len(CATALOGUE) - 1


def test_every_row_of_a_table_has_the_same_cells_as_its_head(record):
    page = render({"limit": record})
    table = [line for line in page.split("## limit")[1].split("## ")[0].splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1


def test_a_quick_run_judges_nothing():
    measured = replace(BENCHMARK, measure=lambda settings: Findings([ROW], [NEAR.judge(1.5)]))
    quick = measured.run(Settings(threads=1, quick=True, device="cpu"))
    assert [verdict.met for verdict in quick.verdicts] == [None]
    assert "no goals judged" in render({"limit": quick})
    assert measured.run(Settings(threads=1, device="cpu")).verdicts[0].met is False


def test_the_command_renders_without_measuring(record, tmp_path):
    record.write(tmp_path)
    page = tmp_path / "page.md"
    done = CliRunner().invoke(app, ["--no-run", "--output", str(tmp_path), "--page", str(page)])
    assert done.exit_code == 0, done.output
    assert page.read_text(encoding="utf-8") == render({"limit": record})


def test_an_unknown_benchmark_is_refused_with_the_nearest_name():
    done = CliRunner().invoke(app, ["limt"])
    assert done.exit_code == 2
    assert "Did you mean 'limit'?" in " ".join(done.stderr.split())


def test_a_failing_benchmark_leaves_the_others_their_turn(monkeypatch, tmp_path):
    def fail(settings):
        raise FilterlensError("no such luck")

    monkeypatch.setitem(CATALOGUE, "growth", replace(CATALOGUE["growth"], measure=fail))
    monkeypatch.setitem(
        CATALOGUE, "limit", replace(BENCHMARK, measure=lambda settings: Findings([ROW], [NEAR.judge(1)]))
    )
    done = CliRunner().invoke(app, ["growth", "limit", "--device", "cpu", "--output", str(tmp_path)])
    assert done.exit_code == 1
    assert "growth: no such luck" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["limit.json"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_everything_runs_quickly_and_renders(tmp_path):
    page = tmp_path / "page.md"
    done = CliRunner().invoke(app, ["--quick", "--device", "cpu", "--output", str(tmp_path), "--page", str(page)])
    assert done.exit_code == 0, done.output
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == sorted(CATALOGUE)
    assert all(json.loads(path.read_text())["rows"] for path in tmp_path.glob("*.json"))
    assert "Not measured yet" not in page.read_text(encoding="utf-8")
