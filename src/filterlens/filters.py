# SPDX-License-Identifier: Apache-2.0
"""The filters of a network: how each is addressed, and sets of them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from filterlens.errors import FilterlensError, UsageError, unknown

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class FilterAddress:
    """One filter, the k×k slice ``weight[out, in]`` of a convolution; printed as PyTorch writes it."""

    layer: str
    out_channel: int
    in_channel: int

    def __str__(self) -> str:
        return f"{weight_of(self.layer)}[{self.out_channel}, {self.in_channel}]"


def weight_of(layer: str) -> str:
    """Return the parameter name of a layer's weight (a network that is one convolution has a nameless layer)."""
    return f"{layer}.weight" if layer else "weight"


@dataclass(frozen=True)
class FilterLayer:
    """The filters of one convolution.

    Attributes:
        name: The module's name, for example ``body.3.conv1``.
        out_channels: Rows of its weight.
        in_channels: Columns of its weight (input channels per group).
        kernel: Shape of one filter.
        offset: Flat index of its first filter.
    """

    name: str
    out_channels: int
    in_channels: int
    kernel: tuple[int, ...]
    offset: int

    @property
    def parameter(self) -> str:
        """The name of the weight in the state dict."""
        return weight_of(self.name)

    @property
    def count(self) -> int:
        """How many filters the layer has."""
        return self.out_channels * self.in_channels


class FilterSpace:
    """Every filter of a network, with its address and its flat index.

    ``layers`` are the convolutions; ``left_out`` names the weights that are no filters (norms, linear layers,
    transposed convolutions, embeddings), so that nothing is left out silently.

    The flat index is ``layer offset + out · in_channels + in``, layers in the order of the state dict. Biases are
    no filters. Works for any network with convolutions, of any kernel size and number of groups.

    Args:
        network: The network; nothing is kept of it but names and shapes.

    Raises:
        FilterlensError: There is no convolution, or a weight is derived from other parameters.

    Example:
        >>> space = FilterSpace(nn.Conv2d(3, 8, 5))
        >>> len(space), str(space.address(4))
        (24, 'weight[1, 1]')
    """

    def __init__(self, network: nn.Module) -> None:
        layers: list[FilterLayer] = []
        seen: set[int] = set()
        for name, module in network.named_modules():
            if not isinstance(module, _CONVOLUTIONS):
                continue
            if parametrize.is_parametrized(module) or "weight" not in module._parameters:
                raise FilterlensError(
                    f"The weight of '{name}' is derived from other parameters (weight norm, re-parameterisation), "
                    "so it is no point on a path. Bake it in first, for example with "
                    "torch.nn.utils.parametrize.remove_parametrizations."
                )
            if id(module.weight) in seen:  # shared weights are one set of filters, under their first name
                continue
            seen.add(id(module.weight))
            out_channels, in_channels, *kernel = module.weight.shape
            offset = layers[-1].offset + layers[-1].count if layers else 0
            layers.append(FilterLayer(name, out_channels, in_channels, tuple(kernel), offset))
        if not layers:
            raise FilterlensError("The network has no convolution, so it has no filters.")
        self.layers: tuple[FilterLayer, ...] = tuple(layers)
        attributed = {layer.parameter for layer in layers}
        self.left_out: tuple[str, ...] = tuple(
            name
            for name, parameter in network.named_parameters()
            if name not in attributed and not name.endswith("bias") and parameter.ndim > 0
        )

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
        return f"FilterSpace({len(self)} filters in {len(self.layers)} layers)"

    @cached_property
    def layer_index(self) -> Tensor:
        """The layer number of every filter, ``(filters,)`` int64."""
        counts = torch.tensor([layer.count for layer in self.layers])
        return torch.repeat_interleave(torch.arange(len(self.layers)), counts)

    @cached_property
    def _by_name(self) -> dict[str, FilterLayer]:
        return {layer.name: layer for layer in self.layers}

    def layer(self, name: str) -> FilterLayer:
        """Return a layer by its module name.

        Raises:
            UsageError: There is no such layer; the nearest name is quoted.
        """
        if name not in self._by_name:
            raise unknown("layer", name, self._by_name)
        return self._by_name[name]

    def address(self, index: int) -> FilterAddress:
        """Return the address of the filter with that flat index.

        Raises:
            UsageError: The index is out of range.
        """
        if not 0 <= index < len(self):
            raise UsageError(f"Filter index {index} is out of range: there are {len(self)} filters, counted from 0.")
        layer = self.layers[int(self.layer_index[index])]
        out_channel, in_channel = divmod(int(index) - layer.offset, layer.in_channels)
        return FilterAddress(layer.name, out_channel, in_channel)

    def addresses(self, indices: Tensor) -> list[FilterAddress]:
        """Return the addresses of many flat indices ``(n,)``, in their order."""
        numbers = self.layer_index[indices]
        widths = torch.tensor([layer.in_channels for layer in self.layers])[numbers]
        local = indices - torch.tensor([layer.offset for layer in self.layers])[numbers]
        rows = zip(numbers.tolist(), (local // widths).tolist(), (local % widths).tolist(), strict=True)
        return [FilterAddress(self.layers[number].name, row, column) for number, row, column in rows]

    def index(self, address: FilterAddress | str) -> int:
        """Return the flat index of an address, given as a value or as ``body.3.conv1.weight[17, 4]``.

        Raises:
            UsageError: The text is no address, or no filter of this network has it.
        """
        if isinstance(address, str):
            match = re.fullmatch(r"(?:(.+)\.)?weight\[\s*(\d+)\s*,\s*(\d+)\s*\]", address.strip())
            if match is None:
                raise UsageError(f"'{address}' is not a filter address; it looks like 'body.3.conv1.weight[17, 4]'.")
            address = FilterAddress(match[1] or "", int(match[2]), int(match[3]))
        layer = self.layer(address.layer)
        if not (0 <= address.out_channel < layer.out_channels and 0 <= address.in_channel < layer.in_channels):
            raise UsageError(
                f"There is no filter {address}: the weight is {layer.out_channels} × {layer.in_channels} filters."
            )
        return layer.offset + address.out_channel * layer.in_channels + address.in_channel

    def pool(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Sum a quantity given per weight over each filter's slice.

        Args:
            weights: Parameter name → tensor of the weight's shape; parameters that hold no filters are ignored.

        Returns:
            ``(filters,)`` in the order of the flat index.
        """
        return torch.cat([weights[layer.parameter].flatten(2).sum(2).flatten() for layer in self.layers])

    def spread(self, values: Tensor) -> dict[str, Tensor]:
        """Give every weight the value of its filter: ``(filters,)`` → parameter name → ``(out, in, 1, …)``."""
        return {
            layer.parameter: values[layer.offset : layer.offset + layer.count].view(
                layer.out_channels, layer.in_channels, *[1] * len(layer.kernel)
            )
            for layer in self.layers
        }


@dataclass(frozen=True, eq=False)
class Selection:
    """A set of filters of one network, best first.

    Attributes:
        space: The network's filters.
        indices: Distinct flat indices ``(n,)`` int64, in the order of the ranking.
        name: What the set is called in tables and pictures.
    """

    space: FilterSpace
    indices: Tensor
    name: str = ""

    def __post_init__(self) -> None:
        indices = self.indices
        if indices.ndim != 1 or indices.dtype != torch.int64:
            raise UsageError("A selection needs a flat int64 tensor of filter indices.")
        if len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= len(self.space)):
            raise UsageError(f"A filter index is out of range: there are {len(self.space)} filters, counted from 0.")
        if len(torch.unique(indices)) != len(indices):
            raise UsageError("A selection names a filter twice.")

    @classmethod
    def top(cls, space: FilterSpace, scores: Tensor, percent: float, name: str = "") -> "Selection":
        """Select the filters with the highest scores.

        Args:
            space: The network's filters.
            scores: ``(filters,)``; ties go to the lower index.
            percent: 0 to 100; the count is rounded down, as in the reference (1 % of 151,936 is 1519).
            name: Of the selection.
        """
        if not 0 <= percent <= 100:
            raise UsageError(f"{percent} is not a percentage of filters: 0 to 100.")
        count = int(len(space) * percent / 100 + 1e-9)
        return cls(space, ranking(scores)[:count], name)

    @classmethod
    def of(cls, space: FilterSpace, addresses: Iterable[FilterAddress | str], name: str = "") -> "Selection":
        """Select filters by address."""
        return cls(space, torch.tensor([space.index(each) for each in addresses], dtype=torch.int64), name)

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def mask(self) -> Tensor:
        """``(filters,)`` bool: which filters are in the set."""
        mask = torch.zeros(len(self.space), dtype=torch.bool)
        mask[self.indices] = True
        return mask

    def overlap(self, other: "Selection") -> float:
        """Return the share of this set's filters that are in the other one too: |A ∩ B| / |A|."""
        return float((self.mask & other.mask).sum() / len(self)) if len(self) else 0.0

    def addresses(self) -> list[FilterAddress]:
        """Return the addresses, best first."""
        return self.space.addresses(self.indices)


def ranking(scores: Tensor) -> Tensor:
    """Return flat indices from the highest score to the lowest; ties go to the lower index."""
    return torch.sort(scores, descending=True, stable=True).indices
