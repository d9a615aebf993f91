# SPDX-License-Identifier: Apache-2.0
"""
Where the filters lie
=====================

Deblurring sits at the back of this network, denoising is spread over it, with a crowd at the
very front.
"""

# %%
# The best filters of the shipped pairs come with the package, so nothing has to be computed.

import matplotlib.pyplot as plt
import numpy as np

from filterlens.diagnosis.distribution import distribution, mean_depth, uniformity
from filterlens.diagnosis.found_filters import shipped_filters

pair, found = shipped_filters("srresnet-x2", "cpu")
chosen = found.selections(pair, 1)
names = {"blur:2": "deblurring", "noise:0.1": "denoising"}
colours = {"blur:2": "#3b6fb6", "noise:0.1": "#d1603d"}

# %%
# Share of each layer
# -------------------
# The dashed line is what chance would give: layers with more filters get more.

figure, axes = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
for axis, (degradation, selection) in zip(axes, chosen.items(), strict=True):
    rows = distribution(selection)
    places = np.arange(len(rows))
    chance = np.array([row.filters for row in rows]) / len(pair.space)
    axis.bar(places, [100 * row.share for row in rows], color=colours[degradation])
    axis.step(places, 100 * chance, where="mid", color="0.2", linestyle="--", linewidth=1)
    depth, spread = mean_depth(selection), uniformity(selection, draws=2000)
    axis.set_title(
        f"{names[degradation]}: mean depth {depth:.2f} (0 first, 1 last layer); "
        f"distance to uniform {spread.distance:.2f}, of random filters {spread.expected:.2f}",
        fontsize=10,
    )
    axis.set_ylabel("% of the filters")
shown = places[:: max(1, len(places) // 9)]
axes[-1].set_xticks(shown, [rows[place].layer for place in shown], rotation=35, ha="right")
plt.show()

# %%
# Every one of them
# -----------------
# A row is a layer, a tick a filter; its place in the row is its place in the layer, output
# channel after output channel. Thick marks are output channels that do the work with many of
# their inputs; ticks that repeat from layer to layer at the same place are channels of the
# residual stream.

figure, axes = plt.subplots(1, 2, figsize=(10, 6.5), sharey=True, layout="constrained")
layers = pair.space.layers
for axis, (degradation, selection) in zip(axes, chosen.items(), strict=True):
    number = pair.space.layer_index[selection.indices].numpy()
    start = np.array([layer.offset for layer in layers])[number]
    count = np.array([layer.count for layer in layers])[number]
    place = (selection.indices.numpy() - start + 0.5) / count
    axis.hlines(range(len(layers)), 0, 1, color="0.88", linewidth=0.6)
    axis.vlines(place, number - 0.4, number + 0.4, color=colours[degradation], linewidth=0.7)
    axis.set_title(f"{len(selection)} {names[degradation]} filters", fontsize=13)
    first, last = axis.set_xticks([0, 1], ["first filter", "last filter"])
    first.label1.set_horizontalalignment("left")
    last.label1.set_horizontalalignment("right")
    axis.margins(0.01)
axes[0].set_yticks(range(0, len(layers), 4), [layer.name for layer in layers[::4]])
axes[0].invert_yaxis()
# sphinx_gallery_thumbnail_number = 2
plt.show()
