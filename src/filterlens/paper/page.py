# SPDX-License-Identifier: Apache-2.0
"""One experiment as files: a Markdown page, JSON, one CSV per table, one PNG per figure."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, field_validator

from filterlens.evaluation.statistics import Estimate
from filterlens.files import read_checked, whole_file, write_json, write_text
from filterlens.paper.experiment import Cell, Experiment, Outcome, Table, Verdict
from filterlens.record import Record
from filterlens.report.figures import LIGHT, png
from filterlens.report.labels import significant
from filterlens.run.rows import write_table

FIGURES, INDEX = "figures", "index.md"
MARKS = {Verdict.HOLDS: "✔", Verdict.PARTLY: "◐", Verdict.FAILS: "✘", Verdict.OPEN: "?"}


@dataclass(frozen=True)
class Origin:
    """Where a page comes from.

    Attributes:
        command: The command line that makes it again.
        recipe: Name of the recipe.
        commit: Commit of the source tree, or the version where there is none.
        machine: Hardware and precision in words.
        created: ISO date and time.
        seconds: Wall time of this experiment in the last run; parts may have been taken from disk.
    """

    command: str
    recipe: str
    commit: str
    machine: str
    created: str
    seconds: float


def main_files(name: str) -> list[str]:
    """Name the two files that every experiment writes, whatever it finds."""
    return [f"{name}.md", f"{name}.json"]


def write_page(record: Record, experiment: Experiment, outcome: Outcome, origin: Origin, settings: Any) -> Path:
    """Write ``NAME.md``, ``NAME.json``, ``NAME/TABLE.csv`` and ``figures/NAME-STEM.png``; return the page's path."""
    folder, name = record.folder, experiment.name
    for table in outcome.tables:
        header, rows = _flat(table)
        with record.writing(file := f"{name}/{table.name}.csv"):
            write_table(folder / file, header, rows)
    for panel in outcome.panels:
        file = f"{FIGURES}/{name}-{panel.stem}.png"
        with record.writing(file), whole_file(folder / file) as path:
            path.write_bytes(png(panel, LIGHT))
    page, data = main_files(name)
    with record.writing(page, data):
        write_json(folder / data, as_json(experiment, outcome, origin, settings))
        write_text(folder / page, _text(_page(experiment, outcome, origin)))
    return folder / page


def as_json(experiment: Experiment, outcome: Outcome, origin: Origin, settings: Any) -> dict[str, Any]:
    """Return everything that the page shows as JSON values."""
    return {
        "experiment": experiment.name,
        "title": experiment.title,
        **asdict(origin),
        "settings": settings,
        "specification": outcome.specification,
        "claims": [asdict(claim) for claim in outcome.claims],
        "tables": [
            {"name": table.name, "title": table.title, "columns": list(table.columns), "note": table.note}
            | {"rows": [[_json_cell(cell) for cell in row] for row in table.rows]}
            for table in outcome.tables
        ],
        "data": outcome.data,
    }


def write_index(record: Record, experiments: Sequence[Experiment]) -> Path:
    """Write ``index.md``: every page in the folder, the verdict on its claims, and each claim with its evidence.

    Raises:
        FilterlensError: A page's JSON is not what this writes, or ``index.md`` is a file of others.
    """
    folder = record.folder
    files = {each: folder / f"{each.name}.json" for each in experiments}
    remedy = "Run `filterlens paper` for it again."
    known = {each: read_checked(file, _PageFacts, remedy) for each, file in files.items() if file.is_file()}
    heads = ["page", "what it shows", *map(_marked, MARKS), "recipe", "seconds"]
    rows = []
    for experiment, facts in known.items():
        counted = Counter(claim["verdict"] for claim in facts["claims"])
        counts = [str(counted[verdict] or "") for verdict in MARKS]
        link = f"[{experiment.title}]({experiment.name}.md)"
        rows.append([link, experiment.summary, *counts, facts["recipe"], f"{facts['seconds']:.0f}"])
    blocks = ["# Results", _GENERATED, _rows(heads, rows)]
    for experiment, facts in known.items():
        if facts["claims"]:
            claims = [[each["text"], _marked(Verdict(each["verdict"])), each["evidence"]] for each in facts["claims"]]
            heads = ["claim", "here", "what was measured"]
            blocks += [f"## {experiment.title}", _rows(heads, claims)]
    with record.writing(INDEX):
        write_text(folder / INDEX, _text(blocks))
    return folder / INDEX


class _ClaimFacts(BaseModel):
    text: str
    evidence: str
    verdict: str

    @field_validator("verdict")
    @classmethod
    def _known(cls, verdict: str) -> str:
        return str(Verdict(verdict))


class _PageFacts(BaseModel):
    recipe: str
    seconds: float
    claims: list[_ClaimFacts]


_GENERATED = "<!-- Written by `filterlens paper`; no number on these pages is typed by hand. -->"


def _text(blocks: Iterable[str]) -> str:
    return "\n\n".join(blocks) + "\n"


def _page(experiment: Experiment, outcome: Outcome, origin: Origin) -> Iterator[str]:
    """Yield the blocks of a page; an empty line stands between two."""
    yield f"# {experiment.title}"
    yield _GENERATED
    if outcome.claims:
        rows = [[claim.text, claim.source, _marked(claim.verdict), claim.evidence] for claim in outcome.claims]
        yield _rows(["claim", "source", "here", "evidence"], rows)
    yield from outcome.text
    for panel in outcome.panels:
        yield f"![{panel.alt}]({FIGURES}/{experiment.name}-{panel.stem}.png)"
    for table in outcome.tables:
        yield f"### {table.title}"
        yield _rows(table.columns, [[cell_text(cell, table.digits) for cell in row] for row in table.rows])
        if table.note:
            yield table.note
    yield "## How it was measured"
    measured = [f"- **{key}**: {value}" for key, value in outcome.specification.items()]
    made = f"- **recipe**: {origin.recipe}; **commit**: {origin.commit}; **made**: {origin.created}"
    where = f"- **machine**: {origin.machine}; {origin.seconds:.0f} s (what was measured before is taken from disk)"
    yield "\n".join([*measured, made, where])
    yield f"```sh\n{origin.command}\n```"


def _marked(verdict: Verdict) -> str:
    return f"{MARKS[verdict]} {verdict}"


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(heads)}", *lines[1:]])


def cell_text(cell: Cell, digits: int = 3) -> str:
    """Write a cell for people: an estimate as ``mean ± sd [low, high]``."""
    if cell is None:
        return "–"
    if isinstance(cell, Estimate):
        text = significant(cell.mean, digits)
        if cell.sd is not None:
            text += f" ± {significant(cell.sd, 2)}"
        if cell.low is not None and cell.high is not None and cell.low != cell.high:
            text += f" [{significant(cell.low, digits)}, {significant(cell.high, digits)}]"
        return text
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return str(cell)
    return significant(float(cell), digits) if isinstance(cell, float) else f"{cell:,}"


def _flat(table: Table) -> tuple[list[str], list[list[object]]]:
    """Return header and rows of the CSV: an estimate becomes mean, sd, low and high."""
    wide = [any(isinstance(row[place], Estimate) for row in table.rows) for place in range(len(table.columns))]
    header: list[str] = []
    for name, is_wide in zip(table.columns, wide, strict=True):
        header += [name, f"{name} (sd)", f"{name} (low)", f"{name} (high)"] if is_wide else [name]
    rows = []
    for row in table.rows:
        flat: list[object] = []
        for cell, is_wide in zip(row, wide, strict=True):
            if isinstance(cell, Estimate):
                flat += [cell.mean, cell.sd, cell.low, cell.high]
            else:
                flat += [cell, None, None, None] if is_wide else [cell]
        rows.append(flat)
    return header, rows


def _json_cell(cell: Cell) -> Any:
    if isinstance(cell, Estimate):
        return {key: _number(value) for key, value in asdict(cell).items()}
    return _number(cell)


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
