# SPDX-License-Identifier: Apache-2.0
"""
Another task: JPEG artefacts
============================

A compact network learns to smooth away the blocks of strong JPEG compression. Which filters do
it, and where in the picture?
"""

# %%
# A network, trained on the spot
# ------------------------------
# The baseline hardly has anything to do: clean images and weak compression. The target sees
# quality 10.

import copy

import matplotlib.pyplot as plt
import torch
from torch import nn

from filterlens import FAIG, Degradation, ModelPair, substitute
from filterlens.data.images import to_float, to_uint8
from filterlens.data.photographs import photograph, square
from filterlens.evaluation.function_distance import gray, removal
from filterlens.metrics import psnr
from filterlens.report.labels import whole_percent

STEPS = 800  # of the fine-tuning
SIDE = 160  # pixels of the picture at the end


class Compact(nn.Module):
    """A stack of convolutions whose output is added to the input."""

    scale = 1

    def __init__(self, features=32, depth=5):
        super().__init__()
        layers = [nn.Conv2d(3, features, 3, padding=1), nn.PReLU(features)]
        for _ in range(depth):
            layers += [nn.Conv2d(features, features, 3, padding=1), nn.PReLU(features)]
        self.body = nn.Sequential(*layers, nn.Conv2d(features, 3, 3, padding=1))

    def forward(self, images):
        return images + self.body(images)


def train(network, degradations, steps, learning_rate):
    """Train on patches of three photographs."""
    truths = [to_float(photograph(name)) for name in ("astronaut", "coffee", "rocket")]
    pairs = [
        (truth, Degradation.parse(each).apply(truth, 1))
        for truth in truths
        for each in degradations
    ]
    optimiser = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99))
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
baseline = train(Compact(), ["clean", "jpeg:70"], STEPS // 4, 2e-3)
target = train(copy.deepcopy(baseline), ["jpeg:10"], STEPS, 2.5e-3)

# %%
# Find and take away
# ------------------

pair = ModelPair(baseline, target)
images = [
    square(photograph("astronaut"), 64, 60, 170),
    square(photograph("coffee"), 64, 200, 280),
]
found = FAIG(pair).attribute(images, ["jpeg:10"])
repair = found.select("jpeg:10", percent=5)

truth = to_float(square(photograph("chelsea"), SIDE, 95, 215))
compressed = Degradation.parse("jpeg:10").apply(truth, 1)
with torch.no_grad():
    before, after, edited = (
        network(compressed) for network in (baseline, target, substitute(pair, repair))
    )
remaining, whole = removal(edited, before, after)
gone = whole_percent(1 - remaining / whole)
print(f"{len(repair)} of {len(pair.space)} filters carry {gone} of the repair")

# %%
# What they do
# ------------
# The map at the lower right shows where these filters change the picture: along the borders
# of the 8×8 blocks.

change = (gray(after) - gray(edited)).abs()[0, 0].numpy()
figure, axes = plt.subplots(2, 2, figsize=(8.4, 8.8), layout="constrained")
shown = {"compressed": compressed, "repaired": after, "without 5 % of the filters": edited}
for axis, (title, image) in zip(axes.flat, shown.items(), strict=False):
    axis.imshow(to_uint8(image).permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set_title(f"{title}: {float(psnr(image, truth, crop=1)):.2f} dB", fontsize=13)
axes[1, 1].imshow(change, cmap="magma", interpolation="nearest")
axes[1, 1].set_title("where they act", fontsize=13)
for axis in axes.flat:
    axis.axis("off")
plt.show()
