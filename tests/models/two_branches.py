# SPDX-License-Identifier: Apache-2.0
"""Small two-branch networks with random weights, in float64."""

from typing import Any

import torch

from filterlens.models.architectures import build

SMALL: dict[str, dict[str, Any]] = {
    "dan": {"scale": 2, "features": 16, "blocks": 2, "estimator_blocks": 1, "loops": 3, "code": 4, "kernel": 7},
    "dasr": {"scale": 2, "features": 8, "groups": 2, "blocks": 1},
}


def random_network(architecture: str, seed: int = 0, **options: Any) -> Any:
    """A small network in evaluation mode whose every number, statistics included, is random and bounded."""
    torch.manual_seed(seed)
    network = build(architecture, **SMALL[architecture] | options).double().eval()
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif name.endswith(("running_mean", "norm.weight", "norm.bias")):
            value.normal_()
    return network
