# SPDX-License-Identifier: Apache-2.0
"""Damage made up row by row, as the frame of the experiments holds it."""

import numpy as np

from filterlens.paper.judged import COLUMNS, Judged


def judged_from_rows(damages, qualities=(), resamples=2000):
    """Arrange (seed, Damage) and (seed, Quality) in any order; every edit is judged on every input and image."""
    rows = [*damages, *qualities]
    seeds = sorted({seed for seed, _ in rows})
    edits, networks = (list(dict.fromkeys(getattr(row, axis) for _, row in some))
                       for some, axis in ((damages, "edit"), (qualities, "network")))  # fmt: skip
    inputs, images = (list(dict.fromkeys(getattr(row, axis) for _, row in rows)) for axis in ("input", "image"))
    damage = {name: np.full((len(seeds), len(images), len(edits), len(inputs)), np.nan) for name in COLUMNS}
    for seed, row in damages:
        place = seeds.index(seed), images.index(row.image), edits.index(row.edit), inputs.index(row.input)
        for name, column in damage.items():
            column[place] = getattr(row, name)
    psnr = {name: np.full((len(seeds), len(images), len(inputs)), np.nan) for name in networks}
    for seed, row in qualities:
        psnr[row.network][seeds.index(seed), images.index(row.image), inputs.index(row.input)] = row.psnr
    return Judged(edits, inputs, damage, psnr, resamples)
