# SPDX-License-Identifier: Apache-2.0
"""The network with which a training from nothing begins."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from filterlens.degradations.kernel_code import kernel_basis
from filterlens.degradations.ranges import BlurRange
from filterlens.models.architectures import build
from filterlens.models.dan import DAN
from filterlens.models.initialisation import start_near_identity
from filterlens.training.recipe import Recipe


def untrained(recipe: Recipe) -> nn.Module:
    """Build the network of a recipe with its seed's random weights, near the identity where the recipe says so."""
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        torch.manual_seed(recipe.seed)
        network = build(recipe.architecture, **recipe.options)
    if isinstance(network, DAN):
        network.set_basis(_kernel_basis(network, recipe))
    if recipe.start == "identity":
        start_near_identity(network)
    return network


def _kernel_basis(network: DAN, recipe: Recipe) -> Tensor:
    """Return the basis of the kernels that the target will see, or of DAN's own range where those are fixed."""
    drawn = recipe.mixture(recipe.target).blur_range or BlurRange((0.2, 4.0))
    return kernel_basis(replace(drawn, kernel=network.kernel), network.code, seed=recipe.seed)
