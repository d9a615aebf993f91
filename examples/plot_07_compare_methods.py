# SPDX-License-Identifier: Apache-2.0
"""
Which ranking is right?
=======================

There are many ways to rank filters. What they find differs, and whether it matters can be
measured.
"""

# %%
# All methods in one call
# -----------------------
# FAIG with and without elimination share one pass; the methods that look at no image cost
# nothing.

import matplotlib.pyplot as plt
import numpy as np

from filterlens import ModelPair
from filterlens.attribution.methods import attribute_with
from filterlens.data.photographs import photograph, square
from filterlens.data.samples import as_samples
from filterlens.degradations import parse_degradations
from filterlens.evaluation.damage import measure_damage, summarise_damage
from filterlens.report.labels import method_label
from filterlens.run.tables import Edit

SIDE = 96  # HR pixels
METHODS = [
    "faig",
    "faig-no-elimination",
    "taylor",
    "ig",
    "change-relative",
    "change-absolute",
    "random-layer-matched",
]

pair = ModelPair.pretrained("srresnet-x2")
photographs = [square(photograph("coffee"), SIDE, 110, 250)]
found = attribute_with(METHODS, pair, photographs, ["blur:2", "noise:0.1"])

# %%
# Do they agree?
# --------------
# The share of one method's top 1 % that another one has too, for noise.

shared = np.array(
    [
        [found[a].select("noise:0.1").overlap(found[b].select("noise:0.1")) for b in METHODS]
        for a in METHODS
    ]
)
figure, axis = plt.subplots(figsize=(7, 5.4), layout="constrained")
axis.imshow(shared, cmap="Blues", vmin=0, vmax=1.2)
for (row, column), value in np.ndenumerate(shared):
    axis.text(
        column,
        row,
        f"{value:.0%}",
        ha="center",
        va="center",
        color="white" if value > 0.7 else "black",
    )
labels = [method_label(name) for name in METHODS]
axis.set_xticks(range(len(METHODS)), labels, rotation=35, ha="right")
axis.set_yticks(range(len(METHODS)), labels)
plt.show()

# %%
# Which one is right?
# -------------------
# Put the filters of each back to the baseline, on another photograph: how much of the own
# function is gone, and how much of the other is kept? The upper right corner is ideal, the
# upper left one is "nothing happened".

edits = {
    Edit(name, 1.0, degradation): attribution.select(degradation, 1)
    for name, attribution in found.items()
    for degradation in attribution.degradations
}
judged = {"chelsea": square(photograph("chelsea"), SIDE, 60, 140)}
damages, _ = measure_damage(
    pair, edits, as_samples(judged), parse_degradations(["blur:2", "noise:0.1"])
)
cells = {
    (cell.edit.method, cell.edit.masked, cell.input): cell for cell in summarise_damage(damages)
}

figure, axis = plt.subplots(figsize=(7, 4.9), layout="constrained")
colours = dict(zip(METHODS, plt.get_cmap("tab10").colors, strict=False))
for name in METHODS:
    for own, other, marker in (("blur:2", "noise:0.1", "o"), ("noise:0.1", "blur:2", "s")):
        removal, kept = cells[name, own, own].removal, cells[name, own, other].preservation
        label = method_label(name) if marker == "o" else None
        axis.plot(
            removal, kept, marker, markersize=11, color=colours[name], alpha=0.85, label=label
        )
axis.plot(1, 1, "*", markersize=22, color="#f2b705", label="ideal", zorder=0)
axis.set_xlabel("removed of the own function", fontsize=12)
axis.set_ylabel("kept of the other function", fontsize=12)
axis.legend(frameon=False, fontsize=10, title="circles: deblurring, squares: denoising")
axis.spines[["top", "right"]].set_visible(False)
# sphinx_gallery_thumbnail_number = 2
plt.show()

# %%
# One photograph of 96×96 pixels is enough to see the order of the methods. The same with
# intervals, on standard test sets: :doc:`/results/masking`.
