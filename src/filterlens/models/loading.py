# SPDX-License-Identifier: Apache-2.0
"""Strict loading: every tensor must be present, fit, have the right type of numbers, and be finite."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from filterlens.errors import FilterlensError

_QUANTISED = ("zero_point", "_packed_params", "weight_scale", "qweight", "absmax", "quant_state", "weight_q")


class UnfitError(FilterlensError):
    """Weights are not those of a network, so others in the same file may be.

    Attributes:
        problems: Number of tensors that do not fit.
    """

    def __init__(self, text: str, problems: int) -> None:
        super().__init__(text)
        self.problems = problems


def load_strictly(network: nn.Module, weights: Mapping[str, Tensor], source: str, architecture: str) -> None:
    """Load the weights into the network.

    Args:
        network: The network, which is changed.
        weights: Name → tensor.
        source: The file, for messages.
        architecture: Name of the network in messages.

    Raises:
        UnfitError: A tensor is missing, unexpected, or of another shape.
        FilterlensError: A tensor is not finite, or of whole numbers, complex ones or truth values where others belong.
    """
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in weights]
    unexpected = [name for name in weights if name not in wanted]
    unfit = [
        f"{name[:100]} is {_shape(weights[name])}, not {_shape(tensor)}"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    problems = [
        f"{title}: {_listed(names)}"
        for title, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", unfit))
        if names
    ]
    if problems:
        quantised = any(name.endswith(_QUANTISED) for name in unexpected)
        hint = " It is quantised; take the weights from before that." if quantised else ""
        count = len(missing) + len(unexpected) + len(unfit)
        raise UnfitError(f"Checkpoint '{source}' does not fit {architecture}: {'; '.join(problems)}.{hint}", count)
    refuse_broken(weights, source)
    refuse_other_numbers(weights, wanted, source)
    network.load_state_dict(weights)


def refuse_broken(weights: Mapping[str, Tensor], source: str) -> None:
    """Check that every number is one.

    Raises:
        FilterlensError: A tensor holds NaN or infinity.
    """
    broken = [
        name
        for name, tensor in weights.items()
        if (tensor.is_floating_point() or tensor.is_complex()) and not tensor.isfinite().all()
    ]
    if broken:
        raise FilterlensError(
            f"Checkpoint '{source}' holds NaN or infinity in '{broken[0][:100]}'. Take an earlier checkpoint."
        )


def refuse_other_numbers(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str) -> None:
    """Check that loading changes no number: whole numbers are no weights, and complex ones would lose a part.

    Raises:
        FilterlensError: A tensor is of other numbers than the network's; indices and counters may be whole numbers.
    """
    for name, tensor in weights.items():
        if name in wanted and not _keeps(tensor, wanted[name].dtype):
            belong = _words(wanted[name].dtype)
            remedy = "If it is quantised, take the weights from before that" if not tensor.is_complex() else ""
            raise FilterlensError(
                f"Checkpoint '{source}' holds {_words(tensor.dtype)} ({_short(tensor.dtype)}) in '{name[:100]}', where "
                f"{belong} belong. {remedy or 'Take a checkpoint of real numbers'}."
            )


def _keeps(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether the numbers are of the type, or are the same numbers in it."""
    if dtype.is_complex:
        return tensor.is_floating_point() or tensor.is_complex()
    if dtype.is_floating_point:
        return tensor.is_floating_point()
    if tensor.is_complex():
        return False
    return torch.equal(tensor.to(dtype).to(tensor.dtype), tensor)


def _words(dtype: torch.dtype) -> str:
    if dtype == torch.bool:
        return "truth values"
    if dtype.is_complex:
        return "complex numbers"
    return "floating-point numbers" if dtype.is_floating_point else "whole numbers"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))[:60]


def _listed(names: list[str]) -> str:
    """Return some of the names, each cut where it is long."""
    most = 5 if sum(map(len, names[:5])) < 250 else 2
    return f"{', '.join(name[:150] for name in names[:most])}{' …' if len(names) > most else ''}"
