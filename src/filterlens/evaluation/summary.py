# SPDX-License-Identifier: Apache-2.0
"""From one row per image to the tables that a reader wants: means, and ratios pooled over images."""

from collections.abc import Iterable
from dataclasses import dataclass

from filterlens.evaluation.damage import Damage, Edit, Quality


@dataclass(frozen=True)
class DamageSummary:
    """One cell of the own/cross matrix: means over images; removal and preservation pooled over pixels of all images.

    ``removal`` is None on other inputs than the edit's own, ``preservation`` None on its own.
    """

    edit: Edit
    input: str
    distance: float
    distance_reference: float
    psnr: float
    ssim: float
    removal: float | None
    preservation: float | None


def summarise_damage(damages: Iterable[Damage]) -> list[DamageSummary]:
    """Average over images, keeping the order of edits and inputs."""
    cells: dict[tuple[Edit, str], list[Damage]] = {}
    for damage in damages:
        cells.setdefault((damage.edit, damage.input), []).append(damage)
    return [_cell(edit, name, rows) for (edit, name), rows in cells.items()]


def _cell(edit: Edit, name: str, rows: list[Damage]) -> DamageSummary:
    whole = sum(row.scale for row in rows)
    ratio = 1 - sum(row.residual for row in rows) / whole if whole else None
    own = edit.masked == name
    return DamageSummary(
        edit=edit,
        input=name,
        distance=_mean([row.distance for row in rows]),
        distance_reference=_mean([row.distance_reference for row in rows]),
        psnr=_mean([row.psnr for row in rows]),
        ssim=_mean([row.ssim for row in rows]),
        removal=ratio if own else None,
        preservation=None if own else ratio,
    )


def summarise_quality(qualities: Iterable[Quality]) -> dict[tuple[str, str], tuple[float, float]]:
    """Return (network, input) → mean PSNR in dB and mean SSIM."""
    cells: dict[tuple[str, str], list[Quality]] = {}
    for quality in qualities:
        cells.setdefault((quality.network, quality.input), []).append(quality)
    return {key: (_mean([row.psnr for row in rows]), _mean([row.ssim for row in rows])) for key, rows in cells.items()}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
