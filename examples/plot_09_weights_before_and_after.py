# SPDX-License-Identifier: Apache-2.0
"""
A filter before and after
=========================

What did fine-tuning do to the filters that matter? And why is it not enough to look for those
that changed most?
"""

# %%
# Nine numbers, twice
# -------------------
# A filter is one 3×3 slice ``weight[out, in]`` of a convolution. These are the ten that
# matter most for denoising.

import matplotlib.pyplot as plt
import numpy as np

from filterlens import FAIG, ModelPair
from filterlens.data.photographs import photograph, square

SIDE = 96  # HR pixels

pair = ModelPair.pretrained("srresnet-x2")
images = square(photograph("astronaut"), SIDE, 40, 160)
found, alone = FAIG(pair).attribute_both(images, ["blur:2", "noise:0.1"])
best = found.select("noise:0.1", percent=0.1)
before, after = pair.unflatten(pair.baseline), pair.unflatten(pair.target)

figure, rows = plt.subplots(3, 10, figsize=(12, 4.4), layout="constrained")
for place, address in enumerate(best.addresses()[:10]):
    name, where = f"{address.layer}.weight", (address.out_channel, address.in_channel)
    slices = before[name][where], after[name][where], (after[name] - before[name])[where]
    most = max(float(each.abs().max()) for each in slices)
    for axis, weights in zip(rows[:, place], slices, strict=True):
        axis.imshow(weights.numpy(), cmap="RdBu_r", vmin=-most, vmax=most)
        axis.set_xticks([])
        axis.set_yticks([])
    rows[0, place].set_title(
        f"{address.layer}\n[{address.out_channel}, {address.in_channel}]", fontsize=9
    )
for axis, label in zip(rows[:, 0], ("baseline", "target", "difference"), strict=True):
    axis.set_ylabel(label, fontsize=12)
plt.show()

# %%
# Fine-tuning turned these filters, it did not replace them: the differences are small next to
# the filters themselves.

# %%
# The change is not the function
# ------------------------------
# Each point is a filter: how much it changed, and how much FAIG says that it matters for
# noise (without elimination). Many filters that changed a lot matter little, and most of those
# that matter changed no more than others.

change = pair.pool(pair.change.abs()).numpy()
score = alone.of("noise:0.1").numpy()
top = alone.select("noise:0.1", percent=1).mask.numpy()
most_changed = change >= np.quantile(change, 0.99)

figure, axis = plt.subplots(figsize=(7, 5), layout="constrained")
axis.loglog(change[~top], score[~top], ".", markersize=1.5, color="0.75", rasterized=True)
axis.loglog(
    change[top],
    score[top],
    ".",
    markersize=3,
    color="#d1603d",
    label="1 % that matters most",
    rasterized=True,
)
axis.axvline(
    change[most_changed].min(),
    color="#3b6fb6",
    linestyle="--",
    label="1 % that changed most: right of here",
)
axis.set_xlabel("change of the filter, Σ |θ − θ̄|", fontsize=12)
axis.set_ylabel("FAIG for noise", fontsize=12)
axis.set_ylim(np.quantile(score[score > 0], 0.001), 100)
axis.set_xlim(left=4e-3)
axis.legend(frameon=False, fontsize=11, markerscale=4, loc="upper left")
axis.set_title(
    f"{(top & most_changed).sum() / top.sum():.0%} of the 1 % are in both", fontsize=12
)
axis.spines[["top", "right"]].set_visible(False)
# sphinx_gallery_thumbnail_number = 2
plt.show()
