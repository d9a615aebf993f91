# SPDX-License-Identifier: Apache-2.0
"""
Your own network
================

Any module with convolutions will do. Here a compact ×2 network is written down, trained on the
spot in ten seconds, and asked which filters deblur and which denoise.
"""

# %%
# A network and its training
# --------------------------
# filterlens needs two modules of one architecture, and of them nothing but ``forward``. The
# attribute ``scale`` tells how much larger the output is. The network is one of the plain,
# fast kind that is used on video and on phones: convolutions at low resolution, one
# rearrangement of pixels at the end.

import copy

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from filterlens import FAIG, Degradation, ModelPair, substitute
from filterlens.data.images import to_float, to_uint8
from filterlens.data.photographs import photograph, square
from filterlens.evaluation.function_distance import removal
from filterlens.metrics import psnr
from filterlens.report.labels import whole_percent

STEPS = 700  # of the fine-tuning
SIDE = 128  # HR pixels of the picture at the end


class Compact(nn.Module):
    """A stack of convolutions at low resolution, added to the input enlarged."""

    scale = 2

    def __init__(self, features=32, depth=5):
        super().__init__()
        layers = [nn.Conv2d(3, features, 3, padding=1), nn.PReLU(features)]
        for _ in range(depth):
            layers += [nn.Conv2d(features, features, 3, padding=1), nn.PReLU(features)]
        self.body = nn.Sequential(
            *layers, nn.Conv2d(features, 3 * 2**2, 3, padding=1), nn.PixelShuffle(2)
        )

    def forward(self, images):
        return self.body(images) + F.interpolate(images, scale_factor=2)


def train(network, degradations, steps, learning_rate):
    """Train on patches of two photographs, each with one of the degradations."""
    truths = [to_float(photograph(name)) for name in ("astronaut", "coffee")]
    pairs = [
        (truth, Degradation.parse(each).apply(truth, 2))
        for truth in truths
        for each in degradations
    ]
    optimiser = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
    for _ in range(steps):
        patches = []
        for number in torch.randint(len(pairs), (8,)).tolist():
            truth, lowered = pairs[number]
            top, left = (int(torch.randint(side - 20, ())) for side in lowered.shape[-2:])
            place = truth[..., 2 * top : 2 * top + 40, 2 * left : 2 * left + 40]
            patches.append((lowered[..., top : top + 20, left : left + 20], place))
        inputs, wanted = map(torch.cat, zip(*patches, strict=True))
        loss = (network(inputs) - wanted).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


torch.manual_seed(0)
baseline = train(Compact(), ["clean"], 3 * STEPS // 7, 2e-3)
target = train(copy.deepcopy(baseline), ["blur:2", "noise:0.1"], STEPS, 2.5e-3)

# %%
# Find
# ----
# What is no convolution is not attributed, and named: here the slopes of the activations.

pair = ModelPair(baseline, target, name="my network")
print(pair.space)
print("not attributed:", ", ".join(pair.space.left_out))

images = [
    square(photograph("astronaut"), 96, 60, 170),
    square(photograph("coffee"), 96, 200, 280),
]
found = FAIG(pair).attribute(images, ["blur:2", "noise:0.1"])
print(f"completeness gap {found.completeness_gap:.2%}")

# %%
# See
# ---
# The network is small and learned in a hurry, so 5 % of its filters are taken away instead of
# 1 %, on a photograph that it has never seen.

truth = to_float(square(photograph("chelsea"), SIDE, 60, 130))
functions = {"blur:2": "deblurring", "noise:0.1": "denoising"}


def quality(images):
    """Return the PSNR in words."""
    return f"{float(psnr(images, truth, crop=2)):.1f} dB"


figure, rows = plt.subplots(2, 4, figsize=(9.6, 5.6), layout="constrained")
for row, degradation in zip(rows, functions, strict=True):
    degraded = Degradation.parse(degradation).apply(truth, 2)
    with torch.no_grad():
        before, after = baseline(degraded), target(degraded)
        shown = {f"baseline\n{quality(before)}": before, f"target\n{quality(after)}": after}
        for other, name in functions.items():
            edited = substitute(pair, found.select(other, percent=5))(degraded)
            remaining, whole = removal(edited, before, after)
            gone = (
                f", {whole_percent(1 - remaining / whole)} gone" if other == degradation else ""
            )
            shown[f"without {name}\n{quality(edited)}{gone}"] = edited
    for axis, (title, image) in zip(row, shown.items(), strict=True):
        axis.imshow(to_uint8(image).permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set_title(title, fontsize=11)
        axis.set_xticks([])
        axis.set_yticks([])
    row[0].set_ylabel(f"on {degradation}", fontsize=12)
plt.show()
