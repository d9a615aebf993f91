# SPDX-License-Identifier: Apache-2.0
"""A narrow SRResNet and a target some way from it, as modules and as checkpoints; always the same weights."""

import torch

from filterlens.models.checkpoints import save_network
from filterlens.models.one_branch import SRResNet


def small_networks(**options):
    """Return a baseline and a target; ``options`` are those of the network."""
    torch.manual_seed(0)
    baseline, target = SRResNet(**options), SRResNet(**options)
    with torch.no_grad():
        for old, new in zip(baseline.parameters(), target.parameters(), strict=True):
            new.copy_(old + 0.5 * new)
    return baseline, target


def save_small_pair(folder, **options):
    """Write both networks as ``baseline.safetensors`` and ``target.safetensors``."""
    for role, network in zip(("baseline", "target"), small_networks(**options), strict=True):
        save_network(folder / f"{role}.safetensors", network, "srresnet", options, {"role": role})
