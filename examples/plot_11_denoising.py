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
# As DnCNN (Zhang et al. 2017) it predicts the noise and subtracts it. The baseline has seen
# weak noise, the target strong one.

import copy

import matplotlib.pyplot as plt
import torch
from torch import nn

from filterlens import FAIG, Degradation, ModelPair, modulate
from filterlens.data.images import to_float, to_uint8
from filterlens.data.photographs import photograph, square
from filterlens.evaluation.image_metrics import psnr

STEPS = 600  # of the fine-tuning
SIDE = 128  # pixels of the picture at the end


class Denoiser(nn.Module):
    """Subtracts what it takes for noise."""

    scale = 1

    def __init__(self, features=32, depth=6):
        super().__init__()
        middle = [
            layer
            for _ in range(depth - 2)
            for layer in (nn.Conv2d(features, features, 3, padding=1), nn.ReLU())
        ]
        first, last = nn.Conv2d(3, features, 3, padding=1), nn.Conv2d(features, 3, 3, padding=1)
        self.noise = nn.Sequential(first, nn.ReLU(), *middle, last)

    def forward(self, images):
        return images - self.noise(images)


def train(network, degradations, steps, learning_rate):
    """Train on patches of two photographs."""
    truths = [to_float(photograph(name)) for name in ("astronaut", "coffee")]
    pairs = [
        (truth, Degradation.parse(each).apply(truth, 1))
        for truth in truths
        for each in degradations
    ]
    optimiser = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
    for _ in range(steps):
        patches = []
        for number in torch.randint(len(pairs), (8,)).tolist():
            top, left = (
                int(torch.randint(side - 24, ())) for side in pairs[number][0].shape[-2:]
            )
            patches.append(
                [image[..., top : top + 24, left : left + 24] for image in pairs[number]]
            )
        wanted, inputs = map(torch.cat, zip(*patches, strict=True))
        loss = (network(inputs) - wanted).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


torch.manual_seed(0)
baseline = train(Denoiser(), ["noise:0.02", "clean"], STEPS // 3, 3e-3)
target = train(copy.deepcopy(baseline), ["noise:0.1"], STEPS, 3e-3)

# %%
# Find
# ----
# With one degradation there is nothing to eliminate but what a clean input needs as well;
# filterlens does that by itself.

pair = ModelPair(baseline, target)
images = [
    square(photograph("astronaut"), 64, 60, 170),
    square(photograph("coffee"), 64, 200, 280),
]
found = FAIG(pair).attribute(images, ["noise:0.1"])
denoising = found.select("noise:0.1", percent=3)
print(
    f"{len(denoising)} of {len(pair.space)} filters,",
    f"completeness gap {found.completeness_gap:.2%}",
)

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
