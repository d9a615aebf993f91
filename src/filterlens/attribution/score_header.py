# SPDX-License-Identifier: Apache-2.0
"""The header of a score file, checked before anything in it is believed."""

from itertools import accumulate, pairwise
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from filterlens.filters import FilterLayer, FilterSpace

Count = Annotated[int, Field(ge=1, lt=2**31)]


class _Part(BaseModel):
    """What a newer version adds is passed over; a text is no number."""

    model_config = ConfigDict(strict=True, extra="ignore")


class LayerFacts(_Part):
    """One layer; see :class:`filterlens.filters.FilterLayer`."""

    name: str
    out_channels: Count
    in_channels: Count
    kernel: Annotated[tuple[Count, ...], Field(strict=False)]  # JSON has lists alone
    offset: Annotated[int, Field(ge=0)]
    row: bool = False


class CompletenessFacts(_Part):
    """One entry; see :class:`filterlens.attribution.result.Completeness`."""

    image: str
    degradation: str
    attributed: FiniteFloat
    loss_target: FiniteFloat
    loss_baseline: FiniteFloat
    nodes: Annotated[int, Field(ge=0)] = 0
    change: FiniteFloat | None = None


class MethodFacts(_Part):
    """What belongs to the scores of one method."""

    degradations: list[str]
    settings: dict[str, Any]
    completeness: list[CompletenessFacts]


class ScoreHeader(_Part):
    """All of it."""

    layers: Annotated[list[LayerFacts], Field(min_length=1)]
    methods: Annotated[dict[str, MethodFacts], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_one_network(self) -> "ScoreHeader":
        names = [layer.name for layer in self.layers]
        if len(set(names)) < len(names):
            raise ValueError("a layer is named twice")
        ends = accumulate((layer.out_channels * layer.in_channels for layer in self.layers), initial=0)
        if [layer.offset for layer in self.layers] != [start for start, _ in pairwise(ends)]:
            raise ValueError("the filters of the layers do not follow one another")
        return self

    def space(self) -> FilterSpace:
        """Return the filters that the scores are of."""
        return FilterSpace.of_layers(FilterLayer(**layer.model_dump()) for layer in self.layers)
