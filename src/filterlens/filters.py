# SPDX-License-Identifier: Apache-2.0
"""The filters of a network: the weights that hold them, their addresses, and selections of filters."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from filterlens.arguments import as_list, percentage, whole_number
from filterlens.errors import FilterlensError, UsageError, printable, unknown
from filterlens.showing.tables import counted

ROWS, WEIGHTS, NONE = "rows", "weights", "none"
LINEAR = (ROWS, WEIGHTS, NONE)  # what a filter of a linear layer is

_CONVOLUTIONS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
_BIASES = ("bias", "in_proj_bias")


@dataclass(frozen=True)
class FilterAddress:
    """One filter, the k×k slice ``weight[out, in]`` of a convolution; printed as PyTorch writes it.

    A filter of a linear layer is a whole row, ``weight[out, :]``; its ``in_channel`` is 0.
    """

    layer: str
    out_channel: int
    in_channel: int
    row: bool = False

    @property
    def column(self) -> str:
        """The second index as it is written: a number, or ``:`` for a whole row."""
        return ":" if self.row else str(self.in_channel)

    def __str__(self) -> str:
        return f"{weight_of(self.layer)}[{self.out_channel}, {self.column}]"


def weight_of(layer: str) -> str:
    """Return the parameter name of a layer's weight.

    A network that is a single convolution has a layer without a name; attention projections (``attn.in_proj_weight``)
    have the names of their parameters.
    """
    if layer.endswith("_proj_weight"):
        return layer
    return f"{layer}.weight" if layer else "weight"


@dataclass(frozen=True)
class FilterLayer:
    """The filters of one convolution, linear layer or attention projection.

    Attributes:
        name: Name of the module, for example ``body.3.conv1``.
        out_channels: Rows of its weight (for a transposed convolution the input channels, PyTorch's first dimension).
        in_channels: Columns of its weight (input channels per group); 1 where a filter is a whole row.
        kernel: Shape of one filter.
        offset: Flat index of its first filter.
        row: True where a filter is a whole row ``weight[out, :]``.
    """

    name: str
    out_channels: int
    in_channels: int
    kernel: tuple[int, ...]
    offset: int
    row: bool = field(default=False, repr=False)  # hashes of convolutional networks are of this text: it stays

    @classmethod
    def of(cls, name: str, weight: Tensor, offset: int, linear: str = ROWS) -> "FilterLayer":
        """Cut a weight into filters; one of two dimensions into what ``linear`` says."""
        out_channels, in_channels, *kernel = weight.shape
        if kernel or linear == WEIGHTS:
            return cls(name, out_channels, in_channels, tuple(kernel), offset)
        return cls(name, out_channels, 1, (in_channels,), offset, row=True)

    @property
    def parameter(self) -> str:
        """The name of the weight in the state dict."""
        return weight_of(self.name)

    @property
    def count(self) -> int:
        """The number of filters in the layer."""
        return self.out_channels * self.in_channels

    @property
    def view(self) -> tuple[int, ...]:
        """The shape in which one number per filter broadcasts over the weight."""
        return self.out_channels, self.in_channels, *[1] * (len(self.kernel) - self.row)

    def facts(self) -> dict[str, Any]:
        """Return the layer as a results file holds it; ``row`` only where it is true, as no older file has it."""
        return {key: value for key, value in asdict(self).items() if key != "row" or value}


def filter_weights(network: nn.Module, linear: str = ROWS) -> Iterator[tuple[str, Tensor]]:
    """Yield every weight that holds filters with the name of its layer, in the order of the modules.

    A shared weight comes once, under its first name; an attention projection has the name of its parameter.

    Args:
        network: Network to search.
        linear: Filters of a linear layer or an attention projection: ``rows`` (``weight[out, :]``),
            ``weights`` (``weight[out, in]``) or ``none``.

    Raises:
        UsageError: ``linear`` is none of these.
        FilterlensError: A weight is derived from other parameters.
    """
    if linear not in LINEAR:
        raise unknown("unit of linear layers", linear, LINEAR)
    seen: set[int] = set()
    for name, module in network.named_modules():
        for layer, weight in _own_weights(name, module, linear):
            if id(weight) not in seen:
                seen.add(id(weight))
                yield layer, weight


def _own_weights(name: str, module: nn.Module, linear: str) -> Iterator[tuple[str, Tensor]]:
    """Yield layer name and weight of the module itself, without its children."""
    if isinstance(module, _CONVOLUTIONS) or (isinstance(module, nn.Linear) and linear != NONE):
        if _is_fixed(module):
            return
        if parametrize.is_parametrized(module) or module._parameters.get("weight") is None:
            raise FilterlensError(
                f"The weight of '{name}' is derived from other parameters (weight norm, re-parameterisation), "
                "so it is no point on a path. Bake it in first, for example with "
                "torch.nn.utils.parametrize.remove_parametrizations."
            )
        yield name, module.weight
    elif isinstance(module, nn.MultiheadAttention) and linear != NONE:
        for projection in _PROJECTIONS:
            weight = module._parameters.get(projection)
            if weight is not None:
                yield f"{name}.{projection}" if name else projection, weight


def _is_fixed(module: nn.Module) -> bool:
    """Whether the weight is a buffer: a constant that no training moves, such as the fused copy of a block."""
    return isinstance(module, (*_CONVOLUTIONS, nn.Linear)) and "weight" in module._buffers


def _left_out(network: nn.Module, attributed: set[str]) -> tuple[str, ...]:
    """Return the names of the weights that hold no filters: norms, embeddings, position tables, fused copies.

    Biases are not listed: no bias is a filter.
    """
    every = network.named_parameters(remove_duplicate=False)
    held = {id(parameter) for name, parameter in every if name in attributed}  # under whatever name
    others = [
        name
        for name, parameter in network.named_parameters()
        if id(parameter) not in held and not (name.rpartition(".")[2] in _BIASES and parameter.ndim < 2)
    ]
    fixed = [f"{name}.weight" for name, module in network.named_modules() if _is_fixed(module)]
    return tuple(others + fixed)


class FilterSpace:
    """All filters of a network, with their addresses and flat indices.

    ``layers`` are the convolutions, transposed convolutions, linear layers and attention projections; ``left_out``
    names the weights outside filters (norms, embeddings, position tables), so that nothing is left out silently.

    The flat index is ``layer offset + out · in_channels + in``, layers in the order of the state dict. Biases
    are not filters. All kernel sizes and numbers of groups are supported.

    Args:
        network: The network; only names and shapes are kept.
        linear: Filters of a linear layer: ``rows`` (``weight[out, :]``), ``weights`` (``weight[out, in]``) or
            ``none``.

    Raises:
        FilterlensError: No layer has filters, or a weight is derived from other parameters.
        UsageError: ``linear`` is none of these.

    Example:
        >>> space = FilterSpace(nn.Conv2d(3, 8, 5))
        >>> len(space), str(space.address(4))
        (24, 'weight[1, 1]')
    """

    def __init__(self, network: nn.Module, linear: str = ROWS) -> None:
        layers: list[FilterLayer] = []
        for name, weight in filter_weights(network, linear):
            offset = layers[-1].offset + layers[-1].count if layers else 0
            layers.append(FilterLayer.of(name, weight, offset, linear))
        if not layers:
            other = "" if linear == NONE else " and no linear layer"
            raise FilterlensError(f"The network has no convolution{other}, so it has no filters.")
        self.layers: tuple[FilterLayer, ...] = tuple(layers)
        self.left_out: tuple[str, ...] = _left_out(network, {layer.parameter for layer in layers})

    @classmethod
    def of_layers(cls, layers: Iterable[FilterLayer]) -> "FilterSpace":
        """Rebuild a filter space from its layers, as a results file holds them."""
        space = cls.__new__(cls)
        space.layers, space.left_out = tuple(layers), ()
        return space

    def __len__(self) -> int:
        return self.layers[-1].offset + self.layers[-1].count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FilterSpace) and self.layers == other.layers

    def __hash__(self) -> int:
        return hash(self.layers)

    def __repr__(self) -> str:
        return f"FilterSpace({self})"

    def __str__(self) -> str:
        return f"{counted(len(self), 'filter')} in {counted(len(self.layers), 'layer')}"

    @cached_property
    def layer_index(self) -> Tensor:
        """The layer number of every filter, ``(filters,)`` int64."""
        counts = torch.tensor([layer.count for layer in self.layers])
        return torch.repeat_interleave(torch.arange(len(self.layers)), counts)

    @cached_property
    def _by_name(self) -> dict[str, FilterLayer]:
        return {layer.name: layer for layer in self.layers}

    def layer_counts(self, indices: Tensor) -> Tensor:
        """Count flat indices ``(n,)`` per layer: ``(layers,)``."""
        return self.layer_index[indices].bincount(minlength=len(self.layers))

    def layer(self, name: str) -> FilterLayer:
        """Return a layer by its module name.

        Raises:
            UsageError: No layer has that name; the error quotes the nearest one.
        """
        if name not in self._by_name:
            raise unknown("layer", name, self._by_name)
        return self._by_name[name]

    def address(self, index: int) -> FilterAddress:
        """Return the address of the filter with that flat index.

        Raises:
            UsageError: The index is out of range.
        """
        index = whole_number(index, "filter index")
        if not 0 <= index < len(self):
            raise UsageError(f"Filter index {index} is out of range: there are {len(self)} filters, counted from 0.")
        layer = self.layers[int(self.layer_index[index])]
        out_channel, in_channel = divmod(index - layer.offset, layer.in_channels)
        return FilterAddress(layer.name, out_channel, in_channel, layer.row)

    def addresses(self, indices: Tensor) -> list[FilterAddress]:
        """Return the addresses of many flat indices ``(n,)``, in their order."""
        numbers = self.layer_index[indices]
        widths = torch.tensor([layer.in_channels for layer in self.layers])[numbers]
        local = indices - torch.tensor([layer.offset for layer in self.layers])[numbers]
        rows = zip(numbers.tolist(), (local // widths).tolist(), (local % widths).tolist(), strict=True)
        layers = self.layers
        return [FilterAddress(layers[number].name, out, column, layers[number].row) for number, out, column in rows]

    def index(self, address: FilterAddress | str) -> int:
        """Return the flat index of an address: a value, or text as ``body.3.conv1.weight[17, 4]``, ``fc.weight[5, :]``.

        Raises:
            UsageError: The text is not an address, or no filter of this network has it.
        """
        if isinstance(address, str):
            address = self._parse(address)
        layer = self.layer(address.layer)
        if not (0 <= address.out_channel < layer.out_channels and 0 <= address.in_channel < layer.in_channels):
            raise UsageError(
                f"There is no filter {address}: the weight is {layer.out_channels} × {layer.in_channels} filters."
            )
        if address.row != layer.row:
            legal = FilterAddress(layer.name, address.out_channel, address.in_channel, layer.row)
            raise UsageError(f"There is no filter {address}: a filter of that weight is written {legal}.")
        return layer.offset + address.out_channel * layer.in_channels + address.in_channel

    def _parse(self, text: str) -> FilterAddress:
        match = re.fullmatch(r"(?:(.+)\.)?((?:\w+_proj_)?weight)\[\s*(\d+)\s*,\s*(\d+|:)\s*\]", text.strip())
        if match is None:
            raise UsageError(f"'{text}' is not a filter address; it looks like 'body.3.conv1.weight[17, 4]'.")
        parts = [match[1], match[2] if match[2] != "weight" else None]
        layer, row = ".".join(part for part in parts if part), match[4] == ":"
        return FilterAddress(layer, int(match[3]), 0 if row else int(match[4]), row)

    def pool(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Sum a quantity per weight over each filter's slice.

        Args:
            weights: Parameter name → tensor of the weight's shape; parameters that hold no filters are ignored.

        Returns:
            ``(filters,)`` in the order of the flat index.
        """
        slices = [weights[each.parameter].reshape(each.out_channels, each.in_channels, -1) for each in self.layers]
        return torch.cat([each.sum(2).flatten() for each in slices])

    def spread(self, values: Tensor) -> dict[str, Tensor]:
        """Give every weight the value of its filter: ``(filters,)`` → parameter name → ``(out, in, 1, …)``."""
        return {
            layer.parameter: values[layer.offset : layer.offset + layer.count].view(layer.view) for layer in self.layers
        }


@dataclass(frozen=True, eq=False)
class Selection:
    """A set of filters of one network, best first.

    Attributes:
        space: All filters of the network.
        indices: Distinct flat indices ``(n,)`` int64, in the order of the ranking.
        name: Name of the set in tables and pictures.
    """

    space: FilterSpace
    indices: Tensor
    name: str = ""

    def __post_init__(self) -> None:
        indices = self.indices
        if not isinstance(indices, Tensor) or indices.ndim != 1 or indices.dtype != torch.int64:
            raise UsageError("A selection needs a flat int64 tensor of filter indices.")
        if len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= len(self.space)):
            raise UsageError(f"A filter index is out of range: there are {len(self.space)} filters, counted from 0.")
        if len(torch.unique(indices)) != len(indices):
            raise UsageError("A selection names a filter twice.")

    @classmethod
    def top(cls, space: FilterSpace, scores: Tensor, percent: float, name: str = "") -> "Selection":
        """Select the filters with the highest scores.

        Args:
            space: All filters of the network.
            scores: Scores ``(filters,)``; ties go to the lower index.
            percent: Share of the filters, 0 to 100; the count is rounded down, as in the reference (1 % of 151,936
                is 1519).
            name: Name of the set in tables and pictures.

        Raises:
            UsageError: The percentage is not legal.
            FilterlensError: The scores are not one finite number per filter.
        """
        check_scores(space, scores, "The scores")
        count = int(len(space) * percentage(percent) / 100 + 1e-9)
        return cls(space, ranking(scores)[:count], name)

    @classmethod
    def of(
        cls, space: FilterSpace, addresses: FilterAddress | str | Iterable[FilterAddress | str], name: str = ""
    ) -> "Selection":
        """Select filters by address; a single address needs no list."""
        indices = [space.index(each) for each in as_list(addresses, FilterAddress)]
        return cls(space, torch.tensor(indices, dtype=torch.int64), name)

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        name = f"'{printable(self.name)}': " if self.name else ""
        layers = int((self.space.layer_counts(self.indices) > 0).sum())
        of_all = f"{len(self):,} of {counted(len(self.space), 'filter')}, {100 * len(self) / len(self.space):.3g} %"
        return f"Selection({name}{of_all}, in {layers} of {counted(len(self.space.layers), 'layer')})"

    @cached_property
    def mask(self) -> Tensor:
        """Boolean mask ``(filters,)`` of the filters in the set."""
        mask = torch.zeros(len(self.space), dtype=torch.bool)
        mask[self.indices] = True
        return mask

    def fingerprint(self) -> str:
        """Return a short hash of the filters in the set, in any order."""
        return hashlib.sha256(self.indices.cpu().sort().values.numpy().tobytes()).hexdigest()[:24]

    def overlap(self, other: "Selection") -> float:
        """Return the share of this set's filters that are also in the other set: |A ∩ B| / |A|."""
        return float((self.mask & other.mask).sum() / len(self)) if len(self) else 0.0

    def addresses(self) -> list[FilterAddress]:
        """Return the addresses, best first."""
        return self.space.addresses(self.indices)


def ranking(scores: Tensor) -> Tensor:
    """Return flat indices from the highest score to the lowest; ties go to the lower index."""
    return torch.sort(scores, descending=True, stable=True).indices


def check_scores(space: FilterSpace, scores: Tensor, what: str) -> None:
    """Check that scores can rank the filters of a network.

    Args:
        space: All filters of the network.
        scores: Scores to check, ``(filters,)`` if they are right.
        what: Name of the scores in the error.

    Raises:
        FilterlensError: The scores are not one finite number per filter.
    """
    if not isinstance(scores, Tensor) or tuple(scores.shape) != (len(space),):
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise FilterlensError(f"{what} are {shape}, but there are {len(space)} filters: one score for each.")
    if scores.is_complex() or scores.dtype == torch.bool:
        raise FilterlensError(f"{what} are of type {scores.dtype}: real numbers can be ranked.")
    if broken := int((~scores.isfinite()).sum()):
        raise FilterlensError(f"{what} hold NaN or infinity in {broken} of {len(space)} places, which rank nothing.")
