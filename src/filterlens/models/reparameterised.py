# SPDX-License-Identifier: Apache-2.0
"""Blocks that train several branches and compute with one fused weight: found by their gradients, and put right.

A block of this kind (RepVGG, Ding et al. 2021; SPAN's Conv3XC) fuses its branches in evaluation mode, so the trained
weights are no longer on the way from input to output. In training mode they are, with the same output. The same goes
for blocks that save memory in evaluation mode by writing into their input (PLKSR), which no gradient survives.
"""

import copy
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from filterlens.errors import FilterlensError
from filterlens.filters import filter_weights, weight_of

_TOLERANCE = 1e-6  # relative, in float64: fusing rounds, some blocks fuse in float32


def branches_in_use(network: nn.Module, images: Tensor) -> tuple[nn.Module, tuple[str, ...]]:
    """Return a copy whose trained weights all count, and the modules that must stay in training mode for that.

    Fused copies of weights become buffers: no training moves them. A weight that counts in neither mode (a layer that
    the network never calls) stays as it is.

    Args:
        network: In evaluation mode.
        images: What it can be tried on.

    Raises:
        FilterlensError: The network computes something else with the branches than with the fused weights, or no
            gradient reaches any weight.
    """
    result = copy.deepcopy(network).eval().requires_grad_(True)
    before = _unused(result, images)
    names: list[str] = []
    while (found := _fusing(result, _unused(result, images), images, names)) is not None:
        names += found
        _set_training(result, names)
    after = _unused(result, images)
    if all(weight_of(layer) in after for layer, _ in filter_weights(result)):
        raise FilterlensError(
            f"{type(network).__name__} cannot be differentiated: no gradient of its output reaches a weight. Load a "
            "network that computes without writing into its own activations and without detaching them."
        )
    if not names:
        return result, ()
    _check_equal(result, names, images)
    for weight in after - before:
        copied = result.get_submodule(weight.rpartition(".")[0])
        fix(copied, [name for name, _ in copied.named_parameters(recurse=False)])
    return result, tuple(names)


def _unused(network: nn.Module, images: Tensor) -> set[str]:
    """Return the weights that no gradient reaches."""
    weights = {weight_of(layer): weight for layer, weight in filter_weights(network)}
    with torch.enable_grad():
        output: Tensor = network(images)
        try:
            found = torch.autograd.grad(output.sum(), list(weights.values()), allow_unused=True)
        except RuntimeError:  # a block writes into what the gradient needs, some only in evaluation mode
            return set(weights)
    return {name for name, gradient in zip(weights, found, strict=True) if gradient is None}


def _fusing(network: nn.Module, unused: set[str], images: Tensor, known: list[str]) -> list[str] | None:
    """Return the modules of a class whose training mode lets an unused weight count; None where there is none."""
    tried: set[type[nn.Module]] = {type(network.get_submodule(name)) for name in known}
    for weight in sorted(unused):
        for owner in _owners(weight):
            kind = type(network.get_submodule(owner))
            if kind in tried or not owner:
                continue
            tried.add(kind)
            alike = [name for name, module in network.named_modules() if type(module) is kind]
            _set_training(network, known + alike)
            counts = weight not in _unused(network, images)
            network.eval()
            _set_training(network, known)
            if counts:
                return alike
    return None


def _owners(weight: str) -> Iterator[str]:
    """Yield the modules around a weight, the innermost first."""
    while weight:
        weight = weight.rpartition(".")[0]
        yield weight


def _set_training(network: nn.Module, names: list[str]) -> None:
    for name in names:
        network.get_submodule(name).training = True


def _check_equal(network: nn.Module, names: list[str], images: Tensor) -> None:
    probe, images = copy.deepcopy(network).double(), images.double()
    with torch.no_grad():
        branches: Tensor = probe(images)
        fused: Tensor = probe.eval()(images)
    if not torch.allclose(branches, fused, rtol=_TOLERANCE, atol=_TOLERANCE * float(fused.abs().max())):
        kind = type(network.get_submodule(names[0])).__name__
        raise FilterlensError(
            f"'{names[0]}' ({kind}) computes with a fused weight that its trained ones do not give, so those are no "
            "point on a path. Save the network after fusing it, as a plain convolution, and load that."
        )


def fix(module: nn.Module, names: Iterable[str]) -> None:
    """Turn parameters of a module into buffers of the same names: constants, which no training moves."""
    for name in list(names):
        value = getattr(module, name).detach()
        delattr(module, name)
        module.register_buffer(name, value)


def fix_what_is_frozen(network: nn.Module) -> None:
    """Turn what an architecture freezes (the mean of a data set, as a convolution) into constants.

    Where everything is frozen, it was meant for something else, and stays.
    """
    if not any(parameter.requires_grad for parameter in network.parameters()):
        return
    for module in network.modules():
        frozen = [name for name, each in module.named_parameters(recurse=False) if not each.requires_grad]
        fix(module, frozen)
