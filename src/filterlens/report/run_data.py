# SPDX-License-Identifier: Apache-2.0
"""Read a run folder into frozen values; a missing file names the command that makes it."""

from dataclasses import fields
from pathlib import Path

from filterlens.errors import FilterlensError
from filterlens.jobs.run_facts import MASK, PICTURES, RUN, mask_facts, picture_facts, require_run
from filterlens.report.csv_rows import Row, read_rows
from filterlens.report.records import (
    Damage,
    Judgement,
    Layer,
    LayerShare,
    NetworkQuality,
    Picture,
    RankedFilter,
    RunData,
)

ATTRIBUTE = "filterlens attribute …"
TOP_TEN = 10


def mask_command(run: Path | str) -> str:
    """Return the command that judges the filters of a run."""
    return f"filterlens mask {run} --images DIR"


def read_run(run: Path | str) -> RunData:
    """Read a finished run.

    Args:
        run: The folder that ``filterlens attribute`` wrote and ``filterlens mask`` completed.

    Returns:
        The run; without a judgement if ``damage.csv`` is not there yet.

    Raises:
        FilterlensError: The folder or a file is missing or is not what the run writes.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise FilterlensError(f"There is no run folder '{folder}'. `{ATTRIBUTE}` makes one.")
    _existing(folder / RUN, ATTRIBUTE)
    about = require_run(folder)
    pair, settings = about["pair"], about["settings"]
    layers = tuple(Layer(each["name"], each["out"], each["in"], each["filters"]) for each in pair["layers"])
    methods, degradations = tuple(settings["methods"]), tuple(settings["degradations"])
    filters = int(pair["filters"])
    distribution = _distribution(_existing(folder / "distribution.csv", ATTRIBUTE))
    if not (methods and degradations and layers and distribution):
        raise FilterlensError(f"The run '{folder}' names no method, degradation or layer. Run `{ATTRIBUTE}` again.")
    top = _top(_existing(folder / "filters.csv", ATTRIBUTE), _selected(distribution, methods[0]))
    return RunData(
        folder, about, layers, methods, degradations, filters, top, distribution, _judgement(folder, degradations)
    )


def _existing(path: Path, command: str) -> Path:
    if not path.is_file():
        raise FilterlensError(f"'{path}' is missing. `{command}` makes it.")
    return path


def _distribution(path: Path) -> tuple[LayerShare, ...]:
    columns = tuple(field.name for field in fields(LayerShare))
    return tuple(
        LayerShare(
            row.text("method"),
            row.text("degradation"),
            row.amount("percent"),
            row.text("layer"),
            row.amount("position"),
            row.integer("filters"),
            row.integer("selected"),
            row.amount("share"),
        )
        for row in read_rows(path, columns)
    )


def _selected(distribution: tuple[LayerShare, ...], method: str) -> int:
    """Count the filters of the smallest proportion: as many as the report draws."""
    percent = min(row.percent for row in distribution)
    counts: dict[str, int] = {}
    for row in distribution:
        if row.method == method and row.percent == percent:
            counts[row.degradation] = counts.get(row.degradation, 0) + row.selected
    return max(counts.values(), default=0)


def _top(path: Path, count: int) -> dict[str, tuple[RankedFilter, ...]]:
    kept: dict[str, list[RankedFilter]] = {}
    for row in read_rows(path, ("degradation", "layer", "out", "in", "score", "rank")):
        rank = row.integer("rank")
        if rank <= max(count, TOP_TEN):
            whole = row.text("in") == ":"
            place = row.text("layer"), row.integer("out"), 0 if whole else row.integer("in")
            found = RankedFilter(row.text("degradation"), *place, row.amount("score"), rank, whole)
            kept.setdefault(found.degradation, []).append(found)
    return {name: tuple(sorted(found, key=lambda each: each.rank)) for name, found in kept.items()}


def _judgement(folder: Path, degradations: tuple[str, ...]) -> Judgement | None:
    if not (folder / "damage.csv").is_file():
        return None
    command = mask_command(folder)
    damage = tuple(_damage(row) for row in read_rows(folder / "damage.csv", tuple(f.name for f in fields(Damage))))
    if not damage:
        raise FilterlensError(f"'{folder / 'damage.csv'}' holds no line. Run `{command}` again.")
    networks = tuple(
        NetworkQuality(row.text("network"), row.text("input"), row.number("psnr"), row.number("ssim"))
        for row in read_rows(_existing(folder / "networks.csv", command), ("network", "input", "psnr", "ssim"))
    )
    _existing(folder / MASK, command)
    about = mask_facts(folder)
    strangers = sorted({row.masked for row in damage} - set(degradations))
    if strangers:
        raise FilterlensError(
            f"'{folder / 'damage.csv'}' masks {', '.join(strangers)}, which the run did not attribute "
            f"({', '.join(degradations)}). Run `{command}` again."
        )
    return Judgement(damage, networks, _pictures(folder, command), about)


def _damage(row: Row) -> Damage:
    return Damage(
        row.text("method"),
        row.amount("percent"),
        row.text("masked"),
        row.text("input"),
        row.amount("distance"),
        row.maybe("distance_reference"),
        row.number("psnr"),
        row.number("ssim"),
        row.maybe("removal"),
        row.maybe("preservation"),
    )


def _pictures(folder: Path, command: str) -> tuple[Picture, ...]:
    """Read the list of pictures; a run judged without pictures has none."""
    if not (folder / PICTURES).is_file():
        return ()
    return tuple(
        Picture(
            each["image"],
            each["input"],
            each["what"],
            each.get("masked"),
            each.get("method"),
            each.get("percent"),
            _existing(folder / each["file"], command),
        )
        for each in picture_facts(folder)
    )
