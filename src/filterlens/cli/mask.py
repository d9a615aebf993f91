# SPDX-License-Identifier: Apache-2.0
"""``filterlens mask``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from filterlens.cli import options
from filterlens.cli.console import Terminal, complain_of, result

if TYPE_CHECKING:
    from filterlens.run.tables import DamageSummary


def mask(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="Run folder of `filterlens attribute`.", show_default=False)],
    images: options.MaybeImages = None,
    pairs: options.Pairs = None,
    baseline: options.RunBaseline = None,
    target: options.RunTarget = None,
    architecture: options.RunArchitecture = None,
    call: options.Call = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Prove that the found filters matter: replace them with the baseline's and measure own and cross damage.

    Writes damage.csv (distance, PSNR, SSIM, and removal or preservation for every edit and input), the same per image,
    networks.csv (the unedited networks) and pictures. Use images that did not serve to find the filters.
    """
    from filterlens.execution.hardware import resolve_device
    from filterlens.jobs.inputs import named_pairs
    from filterlens.jobs.mask import mask_to_folder
    from filterlens.jobs.pairs import RunPair
    from filterlens.run.folder import DAMAGE

    settings = context.obj
    judging = mask_to_folder(
        run,
        images,
        settings,
        pairs=named_pairs(pairs),
        reopening=RunPair(options.own_code(architecture, call), baseline, target),
        device=str(resolve_device(device)),
        progress=Terminal(),
    )
    facts = judging.facts
    value = {"run": str(run), "damage": str(run / DAMAGE)} | {
        key: facts[key] for key in ("methods", "percents", "held_out", "seconds", "left_out") if key in facts
    }
    matrix = own_cross_matrix(judging.damage, facts["methods"][0], min(settings.percents))
    text = f"{matrix}\n{run / DAMAGE}\nNext: filterlens report {run}"
    result(value, text, json)
    complain_of(facts, "Judged")


def own_cross_matrix(damage: "Sequence[DamageSummary]", method: str, percent: float) -> str:
    """Lay out the rows of one method at one percentage for the terminal."""
    rows = [row for row in damage if (row.edit.method, row.edit.percent) == (method, percent)]
    lines = [
        f"The top {percent:g} % of the filters by {method}, replaced by the baseline's:",
        f"  {'filters for':<16} {'input':<16} {'':<6} {'distance':>9}  removed / kept",
    ]
    for row in sorted(rows, key=lambda row: row.edit.masked):
        share = row.removal if row.is_own else row.preservation
        effect = "" if share is None else f"{'removed' if row.is_own else 'kept   '} {share:7.1%}"
        kind = "own" if row.is_own else "cross"
        lines.append(f"  {row.edit.masked:<16} {row.input:<16} {kind:<6} {row.distance:9.3f}  {effect}")
    return "\n".join(lines)
