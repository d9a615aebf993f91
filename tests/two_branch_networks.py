# SPDX-License-Identifier: Apache-2.0
"""Tiny DAN and DASR, and pairs of them whose running statistics are not those of a fresh network."""

import torch
from torch import nn

from filterlens.models.architectures import build
from filterlens.models.checkpoints import save_network
from filterlens.pair import ModelPair

TINY = {
    "dan": {"scale": 2, "features": 6, "blocks": 4, "estimator_blocks": 1, "loops": 3, "code": 3, "kernel": 5},
    "dasr": {"scale": 2, "features": 6, "groups": 1, "blocks": 4},
}


def make_networks(architecture, seed=0, change=0.1, dtype=torch.float64, **options):
    """Return a baseline and a target that is a step away from it, in training mode as a user may have them."""
    torch.manual_seed(seed)
    baseline, target = (build(architecture, **TINY[architecture] | options).to(dtype) for _ in range(2))
    with torch.no_grad():
        for old, new in zip(baseline.parameters(), target.parameters(), strict=True):
            new.copy_(old + change * new)
        for module in target.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return baseline, target


def make_pair(architecture, **how):
    """Return the pair of :func:`make_networks`."""
    return ModelPair(*make_networks(architecture, **how))


def save_pair(folder, architecture, **how):
    """Write both networks of a pair in float32; return their paths."""
    paths = []
    for role, network in zip(("baseline", "target"), make_networks(architecture, **how), strict=True):
        paths.append(folder / f"{architecture}-{role}.safetensors")
        save_network(paths[-1], network.float(), architecture, TINY[architecture], {"role": role})
    return paths
