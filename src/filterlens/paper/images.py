# SPDX-License-Identifier: Apache-2.0
"""From the name of an image set to samples: found on disk, thinned, cut into squares."""

import math
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from filterlens.data.catalogue import CATALOGUE, find_set
from filterlens.data.photographs import PHOTOGRAPHS, photograph
from filterlens.data.samples import Sample, as_samples
from filterlens.errors import FilterlensError, UsageError, unknown
from filterlens.paper.settings import ImageChoice

SHIPPED = "photographs"


@dataclass(frozen=True)
class Library:
    """Where image sets are found.

    Attributes:
        root: Folder of the catalogue's sets; None is the catalogue's default place.
    """

    root: Path | None = None

    def samples(self, wanted: ImageChoice) -> list[Sample]:
        """Return the images of a set.

        Raises:
            FilterlensError: The set is not there; the message says where it was looked for and how to get it.
            UsageError: An image of that name is not in the set.
        """
        whole = self._all(wanted.set)
        if wanted.only:
            by_name = {sample.name: sample for sample in whole}
            for name in wanted.only:
                if name not in by_name:
                    raise unknown(f"image of '{wanted.set}'", name, by_name)
            whole = [by_name[name] for name in wanted.only]
        chosen = evenly(whole, wanted.images)
        if wanted.crop is None:
            return chosen
        return [square for sample in chosen for square in squares(sample, wanted.crop, wanted.squares)]

    def _all(self, name: str) -> list[Sample]:
        if name == SHIPPED:
            return [_shipped(each) for each in PHOTOGRAPHS]
        if name in CATALOGUE:
            return as_samples(find_set(name, self.root))
        if Path(name).is_dir():
            return as_samples(Path(name))
        raise UsageError(
            f"Image set '{name}' is neither a folder nor known. Known: {', '.join([SHIPPED, *CATALOGUE])}."
        )


def evenly(samples: list[Sample], count: int | None) -> list[Sample]:
    """Return at most ``count`` of the samples, spread evenly over their order."""
    if count is None or count >= len(samples):
        return samples
    return [samples[index * len(samples) // count] for index in range(count)]


def squares(sample: Sample, side: int, count: int) -> list[Sample]:
    """Cut ``count`` squares, spread evenly on a grid over the image; a single one is the centre.

    Raises:
        FilterlensError: When read, the image is smaller than a square.
    """
    if count == 1:
        return [_cut(sample, side, 0.5, 0.5, f"{sample.name}")]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    places = [(row, column) for row in range(rows) for column in range(columns)][:count]
    return [
        _cut(sample, side, _place(row, rows), _place(column, columns), f"{sample.name}-{number}")
        for number, (row, column) in enumerate(places, 1)
    ]


def _place(index: int, count: int) -> float:
    return 0.5 if count == 1 else index / (count - 1)


def _cut(sample: Sample, side: int, down: float, across: float, name: str) -> Sample:
    def read() -> Tensor:
        image = sample.read()
        height, width = image.shape[-2:]
        if min(height, width) < side:
            raise FilterlensError(
                f"Image '{sample.name}' is {width}x{height}, smaller than a square of {side} pixels. "
                "Use larger images or a recipe with smaller squares."
            )
        top, left = round((height - side) * down), round((width - side) * across)
        return image[..., top : top + side, left : left + side].contiguous()

    return Sample(name, read)


def _shipped(name: str) -> Sample:
    return Sample(name, lambda: photograph(name))
