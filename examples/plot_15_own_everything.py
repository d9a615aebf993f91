# SPDX-License-Identifier: Apache-2.0
"""
Your module, your pairs, your objective
=======================================

Ten cells from ``import`` to the picture. The network restores images of their own size and
takes a second input; its degradations are known by pairs of images alone; what is attributed is
an objective of one's own. Nothing here is a name that filterlens knows.
"""

# %%
# 1. Import
import copy

import matplotlib.pyplot as plt
import torch
from torch import nn

from filterlens import FAIG, ModelPair, OwnObjective, damage, substitute
from filterlens.data.images import to_float, to_uint8
from filterlens.data.photographs import photograph, square

torch.manual_seed(0)

# %%
# 2. A module of one's own: it takes an image and a number, and returns a tuple.


class Restorer(nn.Module):
    """Five convolutions whose input is the image and a constant plane."""

    def __init__(self, features=24):
        super().__init__()
        layers = [nn.Conv2d(4, features, 3, padding=1), nn.LeakyReLU(0.1)]
        for _ in range(3):
            layers += [nn.Conv2d(features, features, 3, padding=1), nn.LeakyReLU(0.1)]
        self.body = nn.Sequential(*layers, nn.Conv2d(features, 3, 3, padding=1))

    def forward(self, image, level):
        plane = torch.full_like(image[:, :1], level)
        return image + self.body(torch.cat([image, plane], 1)), level


def call(network, image):
    """Say how the network is called, and which of its outputs is the image."""
    return network(image, 0.5)[0]


# %%
# 3. Pairs: images with rain and images in the dark, and the same scenes without.


photographs = [to_float(photograph(name)) for name in ("coffee", "rocket")]


def scenes(count, side, seed):
    """Return squares of two photographs ``(count, 3, side, side)``."""
    draw = torch.Generator().manual_seed(seed)
    places = torch.randint(300, (count, 2), generator=draw).tolist()
    return torch.cat([
        photographs[number % 2][..., top : top + side, left : left + side]
        for number, (top, left) in enumerate(places)
    ])  # fmt: skip


def rained(images):
    drops = (torch.rand(images[:, :1].shape) > 0.985).float()
    streaks = nn.functional.conv2d(drops, torch.ones(1, 1, 9, 1) / 2, padding="same")
    return (images + streaks.clamp(0, 0.7)).clamp(0, 1)


def darkened(images):
    return 0.4 * images


# %%
# 4. Training: the baseline copies clean images, the target is tuned on both kinds of pairs and
# on clean ones.


def train(network, degrade, steps, rate=3e-3):
    optimiser = torch.optim.Adam(network.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for step in range(steps):
        truth = scenes(8, 24, seed=step)
        loss = (call(network, degrade(truth, step)) - truth).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


baseline = train(Restorer(), lambda truth, step: truth, 100)
target = train(
    copy.deepcopy(baseline),
    lambda truth, step: (rained, darkened, torch.clone)[step % 3](truth),
    700,
)

# %%
# 5. The pair. Its scale and its channels are measured.
pair = ModelPair(baseline, target, call=call, name="my restorer")
pair

# %%
# 6. An objective of one's own: the error of edges, in decibels, so that dark images, whose
# errors are large, count no more than rainy ones. It is no sum over pixels: images are
# computed whole.


def edges(output, truth):
    error = output - truth
    return 10 * torch.log10(
        error.diff(dim=-1).square().mean() + error.diff(dim=-2).square().mean()
    )


objective = OwnObjective(edges, name="edges")

# %%
# 7. Attribute: pairs go in as they are.
gt = scenes(4, 64, seed=1000)
pairs = {"rain": (rained(gt), gt), "dark": (darkened(gt), gt)}
found = FAIG(pair, objective=objective).attribute(pairs=pairs)
found

# %%
# 8. The best filters, and where they lie.
print(found.top(3, "rain"))
found.plot(percent=5)
plt.show()

# %%
# 9. The proof, on scenes that were not used above.
held_out = to_float(square(photograph("astronaut"), 128, 40, 160))
judged = {"rain": (rained(held_out), held_out), "dark": (darkened(held_out), held_out)}
damage(pair, found, pairs=judged, percent=5)

# %%
# 10. The picture: each function taken away from the target. Without the filters for the dark,
# dark images stay dark, and rain still goes. Without those for rain, dark images are restored
# as before, but rain is not taken away, and more: in a network as small as this, what finds
# rain also holds brightening back where nothing is dark. The table above says so: its own
# effect is far from 1, and clean images are not kept.
figure, rows = plt.subplots(2, 4, figsize=(9.6, 5.2), layout="constrained")
for row, (name, (lowered, _)) in zip(rows, judged.items(), strict=True):
    with torch.no_grad():
        shown = {"input": lowered, "target": call(target, lowered)}
        for other in judged:
            edited = substitute(pair, found.select(other, percent=5))
            shown[f"without '{other}'"] = call(edited, lowered)
    for axis, (title, image) in zip(row, shown.items(), strict=True):
        axis.imshow(to_uint8(image).permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set_title(title, fontsize=11)
        axis.set_xticks([])
        axis.set_yticks([])
    row[0].set_ylabel(f"on '{name}'", fontsize=12)
plt.show()
