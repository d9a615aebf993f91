# SPDX-License-Identifier: Apache-2.0
"""Build the report of a run: one page that holds its figures and pictures, and the figures as files."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup, escape

from filterlens.files import write_text
from filterlens.record import Record
from filterlens.report import diagrams, findings, matrices, pictures, provenance
from filterlens.report.figures import FIGURES, save
from filterlens.report.labels import (
    architecture_label,
    count,
    degraded,
    fixed,
    function_of,
    listed,
    method_label,
    percent_text,
    significant,
)
from filterlens.run.folder import RUN, mask_command
from filterlens.run.reading import TOP_TEN, RunData, read_run
from filterlens.run.tables import RankedFilter

PAGE = "report.html"
TEMPLATES = ("template.html.j2", "macros.html.j2", "method.html.j2")


def build_report(run: Path | str) -> Path:
    """Write ``RUN/report.html`` and ``RUN/figures/*.png`` from the files of a finished run.

    The page needs no other file, no network and no script. A run that was attributed but not yet judged gets the parts
    that exist, and the page says which command adds the rest.

    Args:
        run: The run folder.

    Returns:
        The path of the page.

    Raises:
        FilterlensError: A file is missing or is not what the run writes (the message names the file and the command
            that makes it), or the page cannot be written.
    """
    data = read_run(run)
    record = report_record(data)
    with record.writing(PAGE):
        write_text(data.folder / PAGE, render(data, record))
    return data.folder / PAGE


def report_record(run: RunData) -> Record:
    """Return the record of a run for its report; in a run of an earlier version, its own report counts as ours."""
    record = Record(run.folder, "report")
    if RUN not in record.names:
        panels = [panel.stem for panel in (*diagrams.curves(run), *diagrams.bars(run), *diagrams.maps(run))]
        record.adopt([PAGE, *(f"{FIGURES}/{stem}.png" for stem in panels)])
    return record


def render(run: RunData, record: Record) -> str:
    """Draw the figures into the run folder and return the page as HTML."""
    environment = Environment(
        loader=DictLoader({name: _resource(name) for name in TEMPLATES}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "address": address,
        "breakable": breakable,
        "count": count,
        "degraded": degraded,
        "fixed": fixed,
        "function": function_of,
        "listed": listed,
        "method": method_label,
        "percent": percent_text,
        "significant": significant,
    }
    return environment.get_template(TEMPLATES[0]).render(style=Markup(_resource("style.css")), **context(run, record))


def context(run: RunData, record: Record) -> dict[str, Any]:
    """Gather everything that the page shows, as text and data addresses."""
    pair = run.about["pair"]
    networks = run.judgement.networks if run.judgement else ()
    return {
        "run": run,
        "title": f"{architecture_label(pair.get('architecture', 'network'))} ×{run.scale}",
        "statement": findings.statement(run),
        "findings": findings.find(run),
        "mask_command": mask_command(run.folder.name, run.about),
        "picture_rows": pictures.picture_rows(run),
        "matrices": {name: matrices.matrices(run, measure) for name, measure in matrices.MEASURES.items()},
        "has_reference": any(row.distance_reference is not None for row in run.judgement.damage)
        if run.judgement
        else False,
        "curves": save(record, diagrams.curves(run)),
        "bars": save(record, diagrams.bars(run)),
        "maps": save(record, diagrams.maps(run)),
        "depths": diagrams.mean_depth(run),
        "chance_depth": diagrams.chance_depth(run),
        "networks": {(row.network, row.input): row for row in networks},
        "network_inputs": tuple(dict.fromkeys(row.input for row in networks)),
        "completeness": provenance.completeness(run),
        "top_ten": {name: run.top.get(name, ())[:TOP_TEN] for name in run.degradations},
        "commands": provenance.commands(run),
        "metrics": provenance.metrics(run),
        "settings": provenance.settings(run),
        "inputs": provenance.degradations(run),
        "versions": provenance.versions(run),
        "network": provenance.network(run),
        "checkpoints": provenance.checkpoints(run),
        "images": provenance.images(run),
    }


def breakable(name: str) -> Markup:
    """Escape a degradation's name and let its line break after a comma or plus, but nowhere else."""
    return Markup(re.sub(r"([,+])", r"\1<wbr>", str(escape(name))))


def address(ranked: RankedFilter) -> str:
    """Return a filter as PyTorch writes it, for example ``body.3.conv1.weight[17, 4]``."""
    from filterlens.filters import FilterAddress  # imports torch, which nothing else of the report needs

    into = ranked.in_channel
    return str(FilterAddress(ranked.layer, ranked.out_channel, into or 0, into is None))


def _resource(name: str) -> str:
    return files("filterlens.report").joinpath(name).read_text(encoding="utf-8")
