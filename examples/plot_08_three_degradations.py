# SPDX-License-Identifier: Apache-2.0
"""
Three functions in one network
==============================

A pair that was fine-tuned for blur, noise and JPEG ships too. Each function has its own few
filters.
"""

# %%
# With three degradations, gradient elimination subtracts from each the mean of the two
# others.

import matplotlib.pyplot as plt
import numpy as np
import torch

from filterlens import Degradation, substitute
from filterlens.data.images import to_float, to_uint8
from filterlens.data.photographs import photograph, square
from filterlens.diagnosis.found_filters import shipped_filters
from filterlens.evaluation.function_distance import preservation, removal
from filterlens.report.labels import whole_percent

SIDE = 144  # HR pixels
FUNCTIONS = {"blur:2": "deblurring", "noise:0.1": "denoising", "jpeg:30": "JPEG repair"}

pair, found = shipped_filters("srresnet-x2-k3", "cpu")
chosen = found.selections(pair, 1)
truth = to_float(square(photograph("coffee"), SIDE, 195, 275))
inputs = {name: Degradation.parse(name).apply(truth, pair.scale) for name in FUNCTIONS}
with torch.no_grad():
    baseline = {name: pair.run(pair.baseline, image) for name, image in inputs.items()}
    target = {name: pair.run(pair.target, image) for name, image in inputs.items()}
    edited = {
        (without, name): substitute(pair, chosen[without])(image)
        for without in FUNCTIONS
        for name, image in inputs.items()
    }

# %%
# What each set does to each input
# --------------------------------
# Rows are inputs. On the diagonal of the last three columns, the function of the input itself
# was taken away.

figure, rows = plt.subplots(3, 5, figsize=(10, 6.6), layout="constrained")
for row, name in zip(rows, inputs, strict=True):
    shown = {"input": inputs[name], "output": target[name]}
    shown |= {f"without\n{FUNCTIONS[without]}": edited[without, name] for without in FUNCTIONS}
    for axis, (title, image) in zip(row, shown.items(), strict=True):
        axis.imshow(to_uint8(image).permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set_xticks([])
        axis.set_yticks([])
        if name == "blur:2":
            axis.set_title(title, fontsize=12)
        if title.endswith(FUNCTIONS[name]):
            for spine in axis.spines.values():
                spine.set(color="#d1603d", linewidth=4)
    row[0].set_ylabel(name, fontsize=13)
plt.show()

# %%
# In numbers: removed on the diagonal, kept elsewhere.

values = np.zeros((3, 3))
for (row, without), (column, name) in (
    (a, b) for a in enumerate(FUNCTIONS) for b in enumerate(inputs)
):
    measure = removal if without == name else preservation
    remaining, whole = measure(edited[without, name], baseline[name], target[name])
    values[row, column] = 1 - remaining / whole

figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
axis.imshow(values, cmap="RdYlGn", vmin=0, vmax=1.3, aspect="auto")
for (row, column), value in np.ndenumerate(values):
    text = f"{'removed' if row == column else 'kept'} {whole_percent(value)}"
    weight, colour = "bold" if row == column else "normal", "white" if value < 0 else "black"
    axis.text(column, row, text, ha="center", va="center", fontweight=weight, color=colour)
axis.set_xticks(range(3), [f"{name} input" for name in inputs])
axis.set_yticks(range(3), [f"without {name}" for name in FUNCTIONS.values()])
plt.show()

# %%
# Blur and noise separate cleanly. JPEG repair is small, and shares filters with the two
# others: :doc:`/results/three-degradations` measures it on a test set.
