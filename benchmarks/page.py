# SPDX-License-Identifier: Apache-2.0
"""The page of all figures, rendered from the records on disk so that no figure is typed by hand."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill

from benchmarks.catalogue import CATALOGUE
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.goal import Verdict
from benchmarks.harness.record import Record, read_record

WIDTH = 120
INTRODUCTION = """\
# Benchmarks

<!-- Written by `python -m benchmarks --page`; do not edit. -->

Every figure here was written by the command that stands with it. Measure them again in a checkout, with the package
installed and nothing else running:

```sh
python -m benchmarks                                     # all; --quick takes about two minutes
python -m benchmarks limit startup                       # some
python -m benchmarks --no-run --page docs/benchmarks.md  # this page, from runs/benchmarks/*.json
```

The photographs that ship are the default; `--images DIR` takes others. Times are the best of several, taken in turns
with what they are compared with; the spread is by how much the slowest exceeded it."""


def read_records(folder: Path) -> dict[str, Record]:
    """Read the records of known benchmarks in a folder: name → record."""
    paths = {name: folder / f"{name}.json" for name in CATALOGUE}
    return {name: read_record(path) for name, path in paths.items() if path.is_file()}


def render(records: Mapping[str, Record]) -> str:
    """Return the page as Markdown; benchmarks without a record are listed as not measured."""
    sections = ["\n".join(_section(benchmark, records.get(name))) for name, benchmark in CATALOGUE.items()]
    return "\n\n".join([INTRODUCTION, "\n".join(_summary(records)), *sections]) + "\n"


def _summary(records: Mapping[str, Record]) -> Iterator[str]:
    yield "| benchmark | goal | measured | |"
    yield "|---|---|---|---|"
    for name, benchmark in CATALOGUE.items():
        for verdict in _verdicts(benchmark, records.get(name)):
            yield f"| [{name}](#{name}) | {verdict.goal} | {verdict.measured} | {_emphasised(verdict)} |"


def _section(benchmark: Benchmark, record: Record | None) -> Iterator[str]:
    yield f"## {benchmark.name}"
    yield f"{_filled(benchmark.explanation)}\n"
    if record is None:
        goals = "; ".join(goal.text for goal in benchmark.goals)
        yield f"Not measured yet. Goal: {goals}."
        return
    yield from _table([column.title for column in benchmark.columns], benchmark.table(record))
    yield ""
    for note in record.notes:
        yield f"{_filled(note)}\n"
    for verdict in record.verdicts:
        yield f"- Goal {_emphasised(verdict)}: {verdict.sentence}."
    quick = " Quick settings: a no figures to quote, no goals judged." if record.quick else ""
    yield f"\n`{record.command}` on {record.created[:10]}, {record.seconds:.0f} s.{quick}\\"
    yield record.machine.text


def _filled(text: str) -> str:
    return fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _verdicts(benchmark: Benchmark, record: Record | None) -> Sequence[Verdict]:
    return [goal.judge(None) for goal in benchmark.goals] if record is None else record.verdicts


def _emphasised(verdict: Verdict) -> str:
    return f"**{verdict.word}**" if verdict.met is False else verdict.word
