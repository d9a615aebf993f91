# SPDX-License-Identifier: Apache-2.0
"""Write the tables of docs/shipped-pairs.md from cards, run folders and results pages; no number is typed by hand.

python tools/shipped_figures.py docs/shipped-pairs.md srresnet-x2=runs/claims-srresnet srcnn-style-x2=runs/claims-srcnn
python tools/shipped_figures.py docs/shipped-pairs.md docs/results/goal-directed.json
"""

import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filterlens.models.checkpoints import load_network
from filterlens.models.pretrained import pair_files

BETWEEN = re.compile(r"(<!-- figures -->\n).*?(<!-- end figures -->)", re.DOTALL)
GOAL = re.compile(r"(<!-- goal -->\n).*?(<!-- end goal -->)", re.DOTALL)
METHODS = ("faig", "faig-no-elimination", "ig", "change-absolute", "change-relative", "random", "random-layer-matched")


def psnr_table(names: list[str]) -> Iterator[str]:
    """Yield the PSNR of baseline and target on Set14, from the cards."""
    cards = {(name, role): load_network(path).card for name in names for role, path in zip(
        ("baseline", "target"), pair_files(name), strict=True)}  # fmt: skip
    first = next(iter(cards.values()))
    kinds = list(first["psnr"]["Set14"])
    yield f"PSNR in dB on Set14 ({first['psnr_specification']}):\n"
    yield f"| pair | network | iterations | {' | '.join(kinds)} |"
    yield f"|---|---|---|{'---|' * len(kinds)}"
    for (name, role), card in cards.items():
        values = " | ".join(f"{card['psnr']['Set14'][kind]:.2f}" for kind in kinds)
        yield f"| {name} | {role} | {card['iterations']:,} | {values} |"


def damage_table(name: str, run: Path) -> Iterator[str]:
    """Yield the own/cross matrix at the smallest percentage, from ``damage.csv``."""
    record: dict[str, Any] = json.loads((run / "mask.json").read_text(encoding="utf-8"))
    settings = json.loads((run / "run.json").read_text(encoding="utf-8"))
    with (run / "damage.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    percent = min(float(row["percent"]) for row in rows)
    cells = {(row["method"], row["masked"], row["input"]): row for row in rows if float(row["percent"]) == percent}
    kinds = settings["settings"]["degradations"]
    held = "none of which was" if record["held_out"] else "some of which were"
    yield (
        f"\n**{name}**, {percent:g} % of the filters replaced, found on {len(settings['images'])} images and judged on "
        f"{len(record['images'])}, {held} used for finding. Function distance × 1000 (own damage bold), and what was "
        "removed of the own function or kept of the other:\n"
    )
    heads = [f"{masked} filters, {kind} input" for masked in kinds for kind in kinds]
    yield f"| method | {' | '.join(heads)} |"
    yield f"|---|{'---|' * len(heads)}"
    for method in METHODS:
        if (method, kinds[0], kinds[0]) in cells:
            values = (_cell(cells[method, masked, kind]) for masked in kinds for kind in kinds)
            yield f"| {method} | {' | '.join(values)} |"


def _cell(row: dict[str, str]) -> str:
    own = row["removal"] != ""
    share = float(row["removal"] if own else row["preservation"])
    distance = f"{float(row['distance']):.3f}"
    return f"**{distance}** · {share:.1%} removed" if own else f"{distance} · {share:.1%} kept"


def goal_table(page: Path) -> Iterator[str]:
    """Yield removal and preservation of FAIG and of the goal-directed ranking, from the results page's JSON."""
    record = json.loads(page.read_text(encoding="utf-8"))
    tables = [table for table in record["tables"] if table["name"].startswith("share-")]
    yield "| pair | function taken away | FAIG: removed / other kept / clean kept | goal-directed |"
    yield "|---|---|---|---|"
    for table in tables:
        cells = {row[0]: dict(zip(table["columns"][1:], row[1:], strict=True)) for row in table["rows"]}
        masked = dict.fromkeys(column.split(" filters, ")[0] for column in table["columns"][1:])
        for own in masked:
            others = [kind for kind in masked if kind != own]
            written = [
                " / ".join(_mean(cells[method][f"{own} filters, {kind} input"]) for kind in (own, *others, "clean"))
                for method in ("FAIG", "goal-directed")
            ]
            yield f"| {table['title'].split(',')[0]} | {own} | {written[0]} | **{written[1]}** |"
    where = record["specification"]["judged on"]
    yield f"\n1 is ideal; below 0 is worse than going back to the baseline. Unseen images: {where}."


def _mean(cell: dict[str, float]) -> str:
    return f"{cell['mean']:.3f}".replace("-", "−")


def main() -> None:
    """Rewrite the part of the page between its markers."""
    page, *arguments = sys.argv[1:]
    if arguments[0].endswith(".json"):
        _replace(Path(page), GOAL, "\n".join(goal_table(Path(arguments[0]))))
        return
    runs = dict(argument.split("=", 1) for argument in arguments)
    lines = list(psnr_table(list(runs)))
    for name, run in runs.items():
        lines += damage_table(name, Path(run))
    _replace(Path(page), BETWEEN, "\n".join(lines) + "\n")


def _replace(path: Path, between: re.Pattern[str], block: str) -> None:
    text = path.read_text(encoding="utf-8")
    path.write_text(between.sub(lambda found: f"{found[1]}{block}\n{found[2]}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
