# SPDX-License-Identifier: Apache-2.0
"""
Beyond super-resolution: one network, three functions, your own pairs
=====================================================================

A small network removes noise, takes rain away and brings light back. filterlens knows none of
these degradations: it gets pairs of degraded and clean images, and finds the filters of each.
"""

# %%
# Pairs, and nothing else
# -----------------------
# Files with the same names in folders, as they come with a data set. Two scenes are for
# finding, two others for the proof. Folders, arrays, tensors and datasets will do as well.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from filterlens import FAIG, Adapter, GoalDirected, ModelPair, adapt, damage
from filterlens.data.all_in_one import all_in_one
from filterlens.data.images import read_image, to_float, to_uint8
from filterlens.metrics import psnr
from filterlens.report.labels import whole_percent

folder = all_in_one()
functions = {"noise": "denoising", "rain": "deraining", "dark": "brightening"}


def pairs_of(*scenes):
    """Return function → (degraded files, clean files)."""

    def files(kind):
        return [folder / kind / f"{scene}.png" for scene in scenes]

    return {name: (files(name), files("gt")) for name in functions}


# %%
# The network
# -----------
# Six residual blocks on the image folded to half its size; filterlens has never seen this
# class. The baseline was trained to hand clean images on. As no skip leads from the image to
# the output, that alone takes its filters. The target was fine-tuned from it on all three kinds
# of pairs.


class Block(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x):
        return x + self.conv2(F.relu(self.conv1(x)))


class Restorer(nn.Module):
    def __init__(self, features=32, blocks=6):
        super().__init__()
        self.first = nn.Conv2d(12, features, 3, padding=1)
        self.body = nn.Sequential(*(Block(features) for _ in range(blocks)))
        self.last = nn.Conv2d(features, 12, 3, padding=1)

    def forward(self, images):
        folded = F.relu(self.first(F.pixel_unshuffle(images, 2)))
        return F.pixel_shuffle(self.last(self.body(folded)), 2)


def network(role):
    restorer = Restorer()
    restorer.load_state_dict(load_file(folder / f"{role}.safetensors"))
    return restorer.eval()


pair = ModelPair(network("baseline"), network("target"), name="all-in-one")
pair

# %%
# Find
# ----
# The name of the pairs is the name of the degradation. FAIG compares changes of the squared
# error, of which a dark image has tens of times as much as a noisy one: its brightening filters
# are then what every function needs. The goal-directed ranking asks for the filters that take
# one function away *and nothing else*; without refinement it is as quick.

pairs = pairs_of("astronaut", "coffee")
found = {
    "FAIG": FAIG(pair).attribute(pairs=pairs),
    "goal-directed": GoalDirected(pair, refine=False, held_out=3).attribute(pairs=pairs),
}
found["FAIG"]

# %%
# Prove
# -----
# Replace the filters of one function by the baseline's, on scenes that were not used to find
# them: its own function should go (removal), the others should stay (preservation).

table = damage(pair, found, pairs=pairs_of("chelsea", "rocket"), percent=1)
table

# %%
# As a picture, green where it is as it should be: deraining and brightening come apart, each
# with one filter in a hundred.

figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.9), layout="constrained")
values = dict(zip(table.edits, table.matrix(), strict=True))
for axis, method in zip(axes, found, strict=True):
    rows = [
        numbers.tolist()
        for name in functions
        for edit, numbers in values.items()
        if (edit.method, edit.masked) == (method, name)
    ]
    for row, name in enumerate(functions):
        for column, number in enumerate(rows[row]):
            own = name == table.inputs[column]
            axis.text(
                column,
                row,
                f"{'removed' if own else 'kept'}\n{whole_percent(number)}",
                ha="center",
                va="center",
                fontweight="bold" if own else "normal",
                color="white" if number < 0.1 else "black",
            )
    axis.imshow(rows, cmap="RdYlGn", vmin=0, vmax=1.3, aspect="auto")
    axis.set_xticks(range(len(table.inputs)), table.inputs)
    axis.set_yticks(range(len(functions)), [f"{name}\nfilters" for name in functions.values()])
    axis.set_title(f"{method}, top 1 % replaced", fontsize=11)
plt.show()

# %%
# An adapter for each function
# ----------------------------
# Three small files, each a knob for one function. Here they are turned off one at a time. On
# the diagonal rain and darkness come back; denoising has hardly any filters of its own: it is
# spread over what all functions share.

place = Path(tempfile.mkdtemp())
for name, function in functions.items():
    Adapter.of(pair, [found["goal-directed"].select(name, percent=1)]).save(
        place / f"{function}.safetensors"
    )
adapters = {path.stem: Adapter.load(path) for path in place.glob("*.safetensors")}
for path in sorted(place.glob("*.safetensors")):
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {adapters[path.stem]}")

target = pair.network(pair.target)
without = {
    f"without\n{name}": adapt(target, [(adapters[name], 0)]) for name in functions.values()
}
truth = to_float(read_image(folder / "gt" / "chelsea.png"))
figure, rows = plt.subplots(3, 5, figsize=(9.6, 6.4), layout="constrained")
for row, name in zip(rows, functions, strict=True):
    degraded = to_float(read_image(folder / name / "chelsea.png"))
    shown = {"input": degraded}
    with torch.no_grad():
        shown |= {
            what: each(degraded) for what, each in ({"all of it": target} | without).items()
        }
    for axis, (title, image) in zip(row, shown.items(), strict=True):
        axis.imshow(to_uint8(image).permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set_xlabel(f"{float(psnr(image, truth, crop=0)):.1f} dB", fontsize=11)
        axis.set_xticks([])
        axis.set_yticks([])
        if name == "noise":
            axis.set_title(title, fontsize=12)
    row[0].set_ylabel(f"on {name}", fontsize=12)
plt.show()

# %%
# How it was trained, and figures on other images: :doc:`/all-in-one`.
