# SPDX-License-Identifier: Apache-2.0
"""
Completeness: is the integral exact?
====================================

Summed over all parameters, the attributions must equal the change of the loss between baseline
and target. What is missing is the error of the numerical integral, so it can always be checked.
"""

# %%
# The loss on the path
# --------------------
# γ(α) = θ̄ + α (θ − θ̄) goes from the baseline (α = 0) to the target (α = 1). The slope of
# the loss on it is the sum of what FAIG integrates, Σ ∂L/∂γ_i (θ_i − θ̄_i).

import matplotlib.pyplot as plt
import numpy as np
import torch

from filterlens import Degradation, ModelPair, Quadrature
from filterlens.attribution.quadrature import (
    Adaptive,
    kernel_weights,
    next_node,
    piecewise_errors,
)
from filterlens.data.images import to_float
from filterlens.data.photographs import photograph, square

SIDE = 64  # HR pixels

pair = ModelPair.pretrained("srresnet-x2")
truth = to_float(square(photograph("astronaut"), SIDE, 60, 190))
noisy = Degradation.parse("noise:0.1").apply(truth, pair.scale)


def at(alpha):
    """Return the loss and its slope at a place of the path."""
    loss, gradient = pair.differentiate(
        pair.at(alpha), noisy, lambda output: (output - truth).square().sum()
    )
    return float(loss), float(torch.dot(gradient.double(), pair.change.double()))


alphas = np.linspace(0, 1, 29)
losses, slopes = np.array([at(alpha) for alpha in alphas]).T
change = losses[-1] - losses[0]
print(f"L(θ) − L(θ̄) = {change:.3f}")

# %%
# Nodes where they are missing
# ----------------------------
# Between two nodes the integral of the slope must be the difference of the losses there, so
# every piece of the path shows its own error. filterlens begins with six Gauss nodes and
# halves the piece with the largest error.

rule = Adaptive()
nodes = rule.start()
seen = dict(zip(nodes, map(at, nodes), strict=True))
gaps = {}
while True:
    places = np.array(sorted(seen))
    values = np.array([seen[place] for place in places])
    known = places, values[:, 1], np.concatenate((losses[:1], values[:, 0], losses[-1:]))
    gaps[len(seen)] = abs(kernel_weights(places) @ values[:, 1] - change) / abs(change)
    if (
        np.abs(piecewise_errors(*known)).sum() <= rule.tolerance * np.ptp(known[2])
        or len(seen) == rule.most
    ):
        break
    added = next_node(*known)
    seen[added] = at(added)

figure, (upper, lower) = plt.subplots(2, 1, figsize=(7, 5), sharex=True, layout="constrained")
upper.plot(alphas, losses, color="0.2", linewidth=2)
upper.set_ylabel("loss L(γ(α))", fontsize=12)
lower.plot(alphas, slopes, color="0.2", linewidth=2)
lower.plot(
    nodes,
    [seen[node][1] for node in nodes],
    "o",
    color="#3b6fb6",
    markersize=8,
    label="first six nodes",
)
more = [node for node in seen if node not in nodes]
lower.plot(
    more, [seen[node][1] for node in more], "*", color="#d1603d", markersize=15, label="added"
)
lower.set_ylabel("slope dL/dα", fontsize=12)
lower.set_xlabel("α: from the baseline (0) to the target (1)", fontsize=12)
lower.legend(frameon=False, fontsize=12)
for axis in (upper, lower):
    axis.spines[["top", "right"]].set_visible(False)
# sphinx_gallery_thumbnail_number = 1
plt.show()

# %%
# Fixed rules for comparison
# --------------------------
# The rule of the reference implementation, 100 equal steps, is ``right`` with 100 nodes here.

figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
for name, counts, colour in (
    ("right", (4, 8, 16, 32), "#9a9a9a"),
    ("gauss-legendre", (4, 6, 8, 12, 16), "#3b6fb6"),
):
    errors = []
    for count in counts:
        integral = sum(weight * at(alpha)[1] for alpha, weight in Quadrature(name, count))
        errors.append(abs(integral - change) / abs(change))
    axis.loglog(counts, errors, marker="o", color=colour, label=name)
axis.loglog(
    list(gaps),
    list(gaps.values()),
    marker="*",
    markersize=12,
    color="#d1603d",
    label="adaptive",
)
axis.axhline(0.01, color="0.7", linestyle="--", zorder=0)
axis.set_xticks([4, 8, 16, 32], ["4", "8", "16", "32"])
axis.minorticks_off()
axis.set_xlabel("gradients computed")
axis.set_ylabel("relative completeness gap")
axis.legend(frameon=False)
axis.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The default stops when the errors of *all pieces*, none cancelling another, are below 1 % of
# the loss's span: a small gap alone may be luck. How many nodes it took, and the gap, stand
# in every ``run.json`` and on every report.
