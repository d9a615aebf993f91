# SPDX-License-Identifier: Apache-2.0
"""Weights into a network: every tensor must be there, fit, and be finite."""

from collections.abc import Mapping

from torch import Tensor, nn

from filterlens.errors import FilterlensError


def load_strictly(network: nn.Module, weights: Mapping[str, Tensor], source: str, architecture: str) -> None:
    """Load the weights into the network.

    Args:
        network: Is changed.
        weights: Name → tensor.
        source: The file, for messages.
        architecture: What messages call the network.

    Raises:
        FilterlensError: A tensor is missing, unexpected, of another shape, or not finite.
    """
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in weights]
    unexpected = [name for name in weights if name not in wanted]
    unfit = [
        f"{name} is {tuple(weights[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    problems = [
        f"{title}: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
        for title, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", unfit))
        if names
    ]
    if problems:
        raise FilterlensError(f"Checkpoint '{source}' does not fit {architecture}: {'; '.join(problems)}.")
    refuse_broken(weights, source)
    network.load_state_dict(weights)


def refuse_broken(weights: Mapping[str, Tensor], source: str) -> None:
    """Check that every number is one.

    Raises:
        FilterlensError: A tensor holds NaN or infinity.
    """
    broken = [name for name, tensor in weights.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise FilterlensError(
            f"Checkpoint '{source}' holds NaN or infinity in '{broken[0]}'. Take an earlier checkpoint."
        )
