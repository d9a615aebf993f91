# SPDX-License-Identifier: Apache-2.0
"""What a run folder holds, as frozen values: the words of the run's tables and nothing of their files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Layer:
    """A convolution: its parameter's module name, its channels and its number of filters (``out * in``)."""

    name: str
    out_channels: int
    in_channels: int
    filters: int


@dataclass(frozen=True)
class RankedFilter:
    """A filter with its score for one degradation; rank 1 is the highest score.

    A filter that is a whole row of a linear layer has ``in_channel`` 0 and ``row`` set.
    """

    degradation: str
    layer: str
    out_channel: int
    in_channel: int
    score: float
    rank: int
    row: bool = False

    @property
    def address(self) -> str:
        """The filter as PyTorch writes it, for example ``body.3.conv1.weight[17, 4]``."""
        from filterlens.filters import FilterAddress  # imports torch, which reading a run does not need

        return str(FilterAddress(self.layer, self.out_channel, self.in_channel, self.row))


@dataclass(frozen=True)
class LayerShare:
    """How many of the top ``percent`` % filters sit in one layer; ``position`` runs from 0 (first) to 1 (last)."""

    method: str
    degradation: str
    percent: float
    layer: str
    position: float
    filters: int
    selected: int
    share: float


@dataclass(frozen=True)
class Damage:
    """What replacing the top ``percent`` % filters for ``masked`` did to the output on ``input``.

    ``distance`` is the MSE times 10³ between image-gradient magnitudes; ``removal`` and ``preservation`` are 1 at best;
    PSNR in dB against the ground truth.
    """

    method: str
    percent: float
    masked: str
    input: str
    distance: float
    distance_reference: float | None
    psnr: float
    ssim: float
    removal: float | None
    preservation: float | None

    @property
    def own(self) -> bool:
        """Whether the network was judged on the degradation whose filters were replaced."""
        return self.masked == self.input


@dataclass(frozen=True)
class NetworkQuality:
    """How well an unedited network restores one kind of input; PSNR in dB."""

    network: str
    input: str
    psnr: float
    ssim: float


@dataclass(frozen=True)
class Picture:
    """A picture file of the run: what it shows, for which image and input, and with which filters replaced."""

    image: str
    input: str
    what: str
    masked: str | None
    method: str | None
    percent: float | None
    path: Path


@dataclass(frozen=True)
class Judgement:
    """What the mask step wrote: damage, the unedited networks, pictures, and how it was done (``mask.json``)."""

    damage: tuple[Damage, ...]
    networks: tuple[NetworkQuality, ...]
    pictures: tuple[Picture, ...]
    about: Mapping[str, Any]

    @property
    def percents(self) -> tuple[float, ...]:
        """The judged proportions of replaced filters, ascending, in percent."""
        return tuple(sorted({row.percent for row in self.damage}))

    def find(self, method: str, percent: float, masked: str, on: str) -> Damage | None:
        """Return the damage of one edit on one input, or None where it was not judged."""
        wanted = (method, percent, masked, on)
        return next((row for row in self.damage if (row.method, row.percent, row.masked, row.input) == wanted), None)

    def own(self, method: str, percent: float, masked: str) -> Damage | None:
        """Return the damage on the degradation whose filters were replaced."""
        return self.find(method, percent, masked, masked)

    def cross(self, method: str, percent: float, masked: str) -> tuple[Damage, ...]:
        """Return the damage on the *other degradations*; clean inputs do not count."""
        degradations = {row.masked for row in self.damage} - {masked}
        found = (self.find(method, percent, masked, other) for other in sorted(degradations))
        return tuple(row for row in found if row is not None)

    def cross_on(self, method: str, percent: float, on: str) -> tuple[Damage, ...]:
        """Return the cross damage on one input by the filters of each *other* degradation.

        Distances on different inputs have different scales; these share theirs with the own damage on ``on``.
        """
        degradations = {row.masked for row in self.damage} - {on}
        found = (self.find(method, percent, other, on) for other in sorted(degradations))
        return tuple(row for row in found if row is not None)


@dataclass(frozen=True)
class RunData:
    """A finished run, read from its folder; ``judgement`` is None while the mask step has not run.

    ``top`` holds, per degradation, the best filters of the first method by rank: at least ten where there are as many.
    """

    folder: Path
    about: Mapping[str, Any]
    layers: tuple[Layer, ...]
    methods: tuple[str, ...]
    degradations: tuple[str, ...]
    filters: int
    top: Mapping[str, tuple[RankedFilter, ...]]
    distribution: tuple[LayerShare, ...]
    judgement: Judgement | None

    @property
    def method(self) -> str:
        """The first method, whose ranking the report explains in full."""
        return self.methods[0]

    @property
    def judged_methods(self) -> tuple[str, ...]:
        """The methods whose filters were replaced: those of the ranking in order, then the others that were judged."""
        judged = dict.fromkeys(row.method for row in self.judgement.damage) if self.judgement else {}
        return (*(m for m in self.methods if m in judged), *(m for m in judged if m not in self.methods))

    @property
    def scale(self) -> int:
        """The factor of super-resolution."""
        return int(self.about["pair"]["scale"])

    @property
    def percent(self) -> float:
        """The smallest proportion of the distribution table, in percent."""
        return min(row.percent for row in self.distribution)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The judged inputs: each degradation in order, then ``clean`` and whatever else was judged."""
        judged = [row.input for row in self.judgement.damage] if self.judgement else []
        return tuple(dict.fromkeys([d for d in self.degradations if d in judged] + judged))
