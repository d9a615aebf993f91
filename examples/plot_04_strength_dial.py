# SPDX-License-Identifier: Apache-2.0
"""
Dial a function from off to on and beyond
=========================================

The found filters need not be on or off. At strength λ they are set to θ̄ + λ (θ − θ̄): 0 removes
the function, 1 is the network as it was trained, and a little above 1 exaggerates it.
"""

# %%
# A strip of pictures
# -------------------
# Only 1 % of the filters moves; all others, and all biases, stay the target's.

import matplotlib.pyplot as plt
import torch

from filterlens import Degradation, modulate
from filterlens.data.images import to_float, to_uint8
from filterlens.data.photographs import photograph, square
from filterlens.diagnosis.found_filters import shipped_filters
from filterlens.metrics import psnr

SIDE = 128  # HR pixels
STRENGTHS = (0, 0.5, 1, 1.5)

pair, found = shipped_filters("srresnet-x2", "cpu")
chosen = found.selections(pair, 1)
truth = to_float(square(photograph("coffee"), SIDE, 200, 280))


def picture(images):
    """Turn ``(1, 3, H, W)`` in [0, 1] into what matplotlib draws."""
    return to_uint8(images).permute(1, 2, 0).numpy()


figure, rows = plt.subplots(2, len(STRENGTHS), figsize=(9, 5.3), layout="constrained")
for row, (degradation, name) in zip(
    rows, {"blur:2": "deblurring", "noise:0.1": "denoising"}.items(), strict=True
):
    degraded = Degradation.parse(degradation).apply(truth, pair.scale)
    for axis, strength in zip(row, STRENGTHS, strict=True):
        with torch.no_grad():
            output = modulate(pair, chosen[degradation], strength)(degraded)
        axis.imshow(picture(output), interpolation="nearest")
        quality = float(psnr(output, truth, crop=pair.scale))
        axis.set_title(f"λ = {strength:g}\n{quality:.1f} dB", fontsize=11)
        axis.set_xticks([])
        axis.set_yticks([])
    row[0].set_ylabel(name, fontsize=13)
plt.show()

# %%
# How much is best?
# -----------------
# That depends on how strong the degradation is. The network was trained for a blur of σ = 2
# only: a weaker blur wants less deblurring, a stronger one more.

strengths = torch.linspace(0, 2, 11).tolist()
figure, axis = plt.subplots(figsize=(7, 4.9), layout="constrained")
for sigma in (1, 2, 3):
    degraded = Degradation.parse(f"blur:{sigma}").apply(truth, pair.scale)
    with torch.no_grad():
        qualities = [
            float(
                psnr(
                    modulate(pair, chosen["blur:2"], strength)(degraded), truth, crop=pair.scale
                )
            )
            for strength in strengths
        ]
    best = max(range(len(strengths)), key=qualities.__getitem__)
    (line,) = axis.plot(
        strengths, qualities, marker="o", markersize=4, linewidth=2, label=f"blur:{sigma}"
    )
    axis.plot(strengths[best], qualities[best], "*", markersize=18, color=line.get_color())
axis.axvline(1, color="0.7", linestyle="--", zorder=0)
axis.set_xlabel("strength λ of the deblurring filters (1: as trained)", fontsize=12)
axis.set_ylabel("PSNR in dB", fontsize=12)
axis.legend(title="input", frameon=False, fontsize=12)
axis.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# On the command line: ``filterlens restore IN OUT --run RUN --without blur:2 --strength
# 1.2``.
