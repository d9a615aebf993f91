# SPDX-License-Identifier: Apache-2.0
"""
What is wrong with this image?
==============================

Which filters a network uses on an input tells what degrades it. No ground truth is needed, only
the network.
"""

# %%
# An overlap, and a threshold
# ---------------------------
# The *overlap score* is the share of the filters that serve this very input which are among
# those found for a degradation. A shipped pair comes with thresholds that were calibrated on
# training images.

import matplotlib.pyplot as plt
import numpy as np

from filterlens import Degradation
from filterlens.data.images import to_float, to_uint8
from filterlens.data.photographs import photograph, square
from filterlens.diagnosis.found_filters import shipped_filters

SIDE = 192  # HR pixels

pair, found = shipped_filters("srresnet-x2", "cpu")
classifier = found.classifier(pair)
truth = to_float(square(photograph("coffee"), SIDE, 80, 220))
inputs = {
    text: Degradation.parse(text).apply(truth, pair.scale)
    for text in ("clean", "blur:2", "noise:0.1", "blur:3", "jpeg:10")
}
verdicts = {text: classifier.classify(image)[0] for text, image in inputs.items()}
for text, verdict in verdicts.items():
    print(f"{text:>10} looks like {verdict.label:<10} (confidence {verdict.confidence:.2f})")

# %%
# The last two were never seen in training: a stronger blur is still recognised as blur. JPEG is
# not among the answers, since the network has no filters of its own for it.

figure, axes = plt.subplots(
    2,
    len(inputs),
    figsize=(11, 4.7),
    layout="constrained",
    gridspec_kw={"height_ratios": [4, 3]},
)
for (upper, lower), (text, image) in zip(axes.T, inputs.items(), strict=True):
    verdict = verdicts[text]
    upper.imshow(to_uint8(image).permute(1, 2, 0).numpy(), interpolation="nearest")
    upper.set_title(f"made: {text}\ntold: {verdict.label}", fontsize=12)
    upper.axis("off")
    places = np.arange(len(verdict.scores))
    present = [name in verdict.present for name in verdict.scores]
    lower.bar(
        places,
        list(verdict.scores.values()),
        color=["#3b6fb6" if each else "#c9c9c9" for each in present],
    )
    for place, name in enumerate(verdict.scores):
        lower.hlines(
            classifier.thresholds[name],
            place - 0.45,
            place + 0.45,
            color="black",
            linestyle="--",
        )
    lower.set_xticks(places, list(verdict.scores), fontsize=11)
    lower.set_ylim(0, 1)
    lower.spines[["top", "right"]].set_visible(False)
axes[1, 0].set_ylabel("overlap score")
plt.show()

# %%
# On the command line: ``filterlens classify FOLDER``. How well it works, and where it does
# not (blur beneath strong noise), is on the page :doc:`/results/classification`.
