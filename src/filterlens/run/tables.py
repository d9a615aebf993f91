# SPDX-License-Identifier: Apache-2.0
"""The rows of the tables in a run folder. A field is a column: a new field is written, read and checked.

Measurements return these same values: nothing is copied from one class to another on the way to a file.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from filterlens.run.rows import Amount, Column


class Edit(NamedTuple):
    """One substitution: the top ``percent`` % that ``method`` ranks for the degradation ``masked``."""

    method: str
    percent: Amount
    masked: str


@dataclass(frozen=True)
class RankedFilter:
    """``filters.csv``: one filter in the ranking for one degradation; rank 1 is the best.

    Attributes:
        degradation: Degradation that it was ranked for.
        layer: Name of its layer.
        out_channel: Output channel.
        in_channel: Input channel; None where the filter is a whole row of a linear layer.
        score: Higher means more important.
        rank: Place among all filters.
    """

    degradation: str
    layer: str
    out_channel: Annotated[int, Column("out")]
    in_channel: Annotated[int | None, Column("in", none=":")]
    score: Annotated[float, Column(digits=9, bounded=True)]
    rank: int


@dataclass(frozen=True)
class LayerShare:
    """The part of a selection in one layer.

    Attributes:
        layer: Module name.
        position: Relative depth of the layer, 0 (first) to 1 (last).
        filters: Number of filters in the layer.
        selected: Number of selected filters in the layer.
        share: ``selected`` over the size of the selection.
    """

    layer: str
    position: Amount
    filters: int
    selected: int
    share: Amount


@dataclass(frozen=True)
class SelectionShare:
    """``distribution.csv``: one layer's part of the top ``percent`` % that ``method`` ranks for a degradation."""

    method: str
    degradation: str
    percent: Amount
    within: LayerShare


@dataclass(frozen=True)
class Damage:
    """``damage_per_image.csv``: what one edit did to one image of one input.

    Attributes:
        edit: Replaced filters.
        input: Degradation of the input.
        image: Name of the image.
        distance: Function distance to the target's output (true gray).
        distance_reference: Function distance in the reference implementation's metric (blue).
        psnr: PSNR of the edited output against the truth, in dB.
        ssim: SSIM of the edited output against the truth.
        residual: ‖E − B‖² where the edit's own degradation is the input, else ‖E − T‖².
        scale: ‖T − B‖²; 1 − residual / scale is removal or preservation.
    """

    edit: Edit
    input: str
    image: str
    distance: float
    distance_reference: float
    psnr: float
    ssim: float
    residual: float
    scale: float

    @property
    def is_own(self) -> bool:
        """Whether the input carries the degradation whose filters were replaced."""
        return self.edit.masked == self.input


@dataclass(frozen=True)
class DamageSummary:
    """``damage.csv``: one cell of the own/cross matrix, over all images.

    Attributes:
        edit: Replaced filters.
        input: Degradation of the input.
        distance: Mean of :attr:`Damage.distance`.
        distance_reference: Mean of :attr:`Damage.distance_reference`.
        psnr: Mean PSNR in dB.
        ssim: Mean SSIM.
        removal: 1 − Σ residual / Σ scale over the images, where the input is the edit's own; 1 is ideal.
        preservation: 1 − Σ residual / Σ scale on every other input.
    """

    edit: Edit
    input: str
    distance: Amount
    distance_reference: float | None
    psnr: float
    ssim: float
    removal: float | None
    preservation: float | None

    @property
    def is_own(self) -> bool:
        """Whether the input carries the degradation whose filters were replaced."""
        return self.edit.masked == self.input


@dataclass(frozen=True)
class Quality:
    """PSNR (dB) and SSIM of an unedited network on one image of one input."""

    network: str
    input: str
    image: str
    psnr: float
    ssim: float


@dataclass(frozen=True)
class NetworkQuality:
    """``networks.csv``: mean PSNR (dB) and SSIM of an unedited network on one input."""

    network: str
    input: str
    psnr: float
    ssim: float
