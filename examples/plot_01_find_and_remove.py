# SPDX-License-Identifier: Apache-2.0
"""
Find the deblurring filters and take them away
==============================================

A super-resolution network that also removes blur and noise does so with a few filters each.
Here we find both sets, 1 % of the network each, and put them back to the values that they had
before fine-tuning.
"""

# %%
# Two networks and the path between them
# --------------------------------------
# A **pair** is a *baseline*, trained on clean images, and the *target* that was fine-tuned
# from it on blurred and noisy ones. One ships with the package: an SRResNet for ×2 with
# 151,936 filters.

import matplotlib.pyplot as plt
import torch

from filterlens import FAIG, Degradation, ModelPair, Selection, substitute
from filterlens.data.images import to_float, to_uint8
from filterlens.data.photographs import photograph, square

SIDE = 128  # HR pixels of the photographs' parts
torch.manual_seed(0)

pair = ModelPair.pretrained("srresnet-x2")
print(pair.space)

# %%
# Find
# ----
# FAIG integrates, for every single weight, the gradient of the restoration error on the
# straight path from baseline to target. What serves one degradation and not the other remains
# (gradient elimination). The completeness gap says how exact the integral is.

photographs = [
    square(photograph("astronaut"), SIDE, 40, 150),
    square(photograph("coffee"), SIDE, 110, 250),
]
found = FAIG(pair).attribute(photographs, ["blur:2", "noise:0.1"])
deblurring = found.select("blur:2", percent=1)
denoising = found.select("noise:0.1", percent=1)

print(f"{len(deblurring)} filters each, completeness gap {found.completeness_gap:.2%}")
print("deblurring:", *deblurring.addresses()[:3], "…")
print("denoising: ", *denoising.addresses()[:3], "…")
print(f"in both sets: {deblurring.overlap(denoising):.1%}")

# %%
# Take away
# ---------
# ``substitute`` returns a new network, in which the chosen filters have the baseline's
# values. The same number of random filters is the control. All of it happens on a photograph
# that was not used for finding.

random = Selection(pair.space, torch.randperm(len(pair.space))[: len(deblurring)], "random")
networks = {
    "network's output": pair.network(pair.target),
    "without its\ndeblurring filters": substitute(pair, deblurring),
    "without its\ndenoising filters": substitute(pair, denoising),
    "without as many\nrandom filters": substitute(pair, random),
}
truth = to_float(square(photograph("chelsea"), SIDE, 60, 140))
inputs = {
    "blurred": Degradation.parse("blur:2").apply(truth, pair.scale),
    "noisy": Degradation.parse("noise:0.1").apply(truth, pair.scale),
}


def picture(images):
    """Turn ``(1, 3, H, W)`` in [0, 1] into what matplotlib draws."""
    return to_uint8(images).permute(1, 2, 0).numpy()


figure, rows = plt.subplots(2, 6, figsize=(12, 4.6), layout="constrained")
for row, (name, degraded) in zip(rows, inputs.items(), strict=True):
    with torch.no_grad():
        outputs = {title: network(degraded) for title, network in networks.items()}
    shown = {f"input, {name}": degraded} | outputs | {"ground truth": truth}
    for axis, (title, image) in zip(row, shown.items(), strict=True):
        axis.imshow(picture(image), interpolation="nearest")
        axis.set_title(title, fontsize=10)
        axis.axis("off")
plt.show()

# %%
# The upper row loses its sharpness without the deblurring filters alone, the lower row keeps
# its noise without the denoising filters alone. As many random filters change nothing that
# can be seen.
#
# Seen from close, on the blurred input:

with torch.no_grad():
    sharp, dull = (networks[name](inputs["blurred"]) for name in list(networks)[:2])
part = slice(SIDE // 8, 7 * SIDE // 8)
figure, axes = plt.subplots(1, 2, figsize=(8, 4.5), layout="constrained")
for axis, title, image in zip(
    axes, ("deblurred", "without 1 % of its filters"), (sharp, dull), strict=True
):
    axis.imshow(picture(image)[part, part], interpolation="nearest")
    axis.set_title(title, fontsize=14)
    axis.axis("off")
# sphinx_gallery_thumbnail_number = 2
plt.show()
