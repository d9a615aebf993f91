# SPDX-License-Identifier: Apache-2.0
"""
Another task: a DnCNN-style denoiser
====================================

Nothing is special about super-resolution. A denoiser has input and output of one size (scale 1)
and a single function, whose filters are told from those that clean images need.
"""

# %%
# A denoiser, trained on the spot
# -------------------------------
# As DnCNN (Zhang et al. 2017) it predicts the noise and subtracts it. The recipe `denoise`
# ships; `filterlens train --recipe denoise` does the same on a folder of images. The baseline
# learns to leave clean images alone, the target to remove noise.

import tempfile

import matplotlib.pyplot as plt
import torch

from filterlens import FAIG, Degradation, ModelPair, modulate
from filterlens.data.images import to_float, to_uint8
from filterlens.data.photographs import photograph, square
from filterlens.metrics import psnr
from filterlens.training.recipe import load_recipe
from filterlens.training.trainer import train

STEPS = 700  # of the fine-tuning
SIDE = 128  # pixels of the picture at the end

target = {
    "iterations": STEPS,
    "learning_rate": 3e-3,
    "warmup": 50,
    "degradations": [["noise:0.1", 1.0]],  # on every patch
}
network = {"features": 32, "layers": 6}
recipe = load_recipe("denoise", network=network, patch=24, target=target)
photographs = [photograph("astronaut"), photograph("coffee")]
files = train(recipe, photographs, tempfile.mkdtemp(), device=torch.device("cpu"))

# %%
# Find
# ----
# With one degradation there is nothing to eliminate but what a clean input needs as well;
# filterlens does that by itself.

pair = ModelPair.load(files["baseline"], files["target"])
print(pair.space)
images = [
    square(photograph("astronaut"), 64, 60, 170),
    square(photograph("coffee"), 64, 200, 280),
]
found = FAIG(pair).attribute(images, ["noise:0.1"])
denoising = found.select("noise:0.1", percent=3)
gap = max(each.gap for each in found.completeness if each.degradation == "noise:0.1")
print(f"{len(denoising)} of {len(pair.space)} filters, completeness gap on noise {gap:.2%}")

# %%
# Dial
# ----
# Three per cent of the filters are a knob for the whole function.

truth = to_float(square(photograph("chelsea"), SIDE, 150, 190))
noisy = Degradation.parse("noise:0.1").apply(truth, 1)
strengths = (0, 0.25, 0.5, 0.75, 1)

figure, axes = plt.subplots(2, 3, figsize=(9, 6.6), layout="constrained")
shown = {"input": noisy}
with torch.no_grad():
    shown |= {
        f"λ = {strength:g}": modulate(pair, denoising, strength)(noisy)
        for strength in strengths
    }
for axis, (title, image) in zip(axes.flat, shown.items(), strict=True):
    axis.imshow(to_uint8(image).permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set_title(f"{title}: {float(psnr(image, truth, crop=1)):.1f} dB", fontsize=13)
    axis.axis("off")
plt.show()
