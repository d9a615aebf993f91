# SPDX-License-Identifier: Apache-2.0
"""Overlap scores of many inputs, per target model, image and degradation, on patches and whole images."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from filterlens.attribution.result import Attribution
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.diagnosis.calibration import CalibrationInput
from filterlens.diagnosis.overlap import (
    PATCH,
    Reading,
    cut_patches,
    input_magnitudes,
    overlap_scores,
    patch_corners,
    precision_on,
)
from filterlens.filters import Selection
from filterlens.paper.images import evenly
from filterlens.paper.laboratory import Laboratory, TargetModel

Key = tuple[float, str]
PLAIN = ", nothing eliminated"


@dataclass(frozen=True, eq=False)
class Reader:
    """A target model and the sets of filters with which inputs are compared.

    Attributes:
        model: The networks.
        sets: (percent, degradation) → filter^D. Sets found without elimination, whose overlaps explain those of
            filter^D, are named by :func:`plain`.
    """

    model: TargetModel
    sets: Mapping[Key, Selection]

    @classmethod
    def of(
        cls, model: TargetModel, found: Attribution, percents: Sequence[float], without: Attribution | None = None
    ) -> "Reader":
        """Take the top filters of a ranking, and at the first percentage those of one without elimination.

        Args:
            model: The networks.
            found: The ranking.
            percents: Shares of the filters.
            without: The ranking without elimination.
        """
        sets = {(percent, name): found.select(name, percent) for percent in percents for name in found.degradations}
        if without is not None:
            sets |= {(percents[0], plain(name)): without.select(name, percents[0]) for name in found.degradations}
        return cls(model, sets)

    def at(self, percent: float) -> dict[str, Selection]:
        """Return degradation → filter^D at one percentage."""
        return {name: each for (share, name), each in self.sets.items() if share == percent and PLAIN not in name}


def plain(degradation: str) -> str:
    """Return the name under which the filters of a degradation without elimination are kept."""
    return f"{degradation}{PLAIN}"


@dataclass(frozen=True)
class Scored:
    """One input and its overlap scores.

    Attributes:
        seed: Seed of the target model.
        image: Name of the image that it comes from.
        kind: Degradations of the input.
        label: Degradations in written form; ``clean`` for none.
        scores: (percent, degradation) → OS(x, D); also for the sets named by :func:`plain`.
    """

    seed: int
    image: str
    kind: frozenset[str]
    label: str
    scores: Mapping[Key, float]


@dataclass(frozen=True)
class Overlaps:
    """The overlap scores of all inputs of one reading.

    Attributes:
        inputs: In the order of target models, images, degradations and patches.
        seconds: Per input from pixels to magnitudes, the median when they were computed; NaN where there is none.
    """

    inputs: tuple[Scored, ...]
    seconds: float = float("nan")

    def only(self, wanted: Callable[[Scored], bool]) -> "Overlaps":
        """Return the inputs that are wanted."""
        return Overlaps(tuple(each for each in self.inputs if wanted(each)), self.seconds)

    def of_seed(self, seed: int) -> "Overlaps":
        """Return the inputs of one target model."""
        return self.only(lambda each: each.seed == seed)

    def of_kind(self, kind: frozenset[str]) -> "Overlaps":
        """Return the inputs that have exactly these degradations."""
        return self.only(lambda each: each.kind == kind)

    def having(self, name: str, has: bool = True) -> "Overlaps":
        """Return the inputs that have a degradation, or those that do not."""
        return self.only(lambda each: (name in each.kind) == has)

    def simple(self) -> "Overlaps":
        """Return the inputs with at most one degradation."""
        return self.only(lambda each: len(each.kind) < 2)

    @property
    def seeds(self) -> list[int]:
        """Seeds of the target models."""
        return sorted({each.seed for each in self.inputs})

    @property
    def kinds(self) -> list[frozenset[str]]:
        """What the inputs are degraded by, each once, in order."""
        return list(dict.fromkeys(each.kind for each in self.inputs))

    def scores(self, percent: float, name: str) -> Tensor:
        """Return OS(x, D) of every input, ``(n,)`` float64."""
        return torch.tensor([each.scores[percent, name] for each in self.inputs], dtype=torch.float64)

    def present(self, name: str) -> Tensor:
        """Return which inputs have a degradation, ``(n,)`` bool."""
        return torch.tensor([name in each.kind for each in self.inputs], dtype=torch.bool)


def whole_images(laboratory: Laboratory, name: str, most: int | None) -> list[Sample]:
    """Return the images on which a pair is judged, not cut into squares."""
    return evenly(laboratory.samples(laboratory.common.judged_on(name).whole), most)


def calibration_samples(laboratory: Laboratory, most: int) -> list[Sample]:
    """Return some training images, whole."""
    return evenly([sample for each in laboratory.common.train for sample in laboratory.samples(each.whole)], most)


def calibration_text(laboratory: Laboratory, most: int) -> str:
    """Say on which images thresholds are calibrated, and on how many of them the filters were found."""
    used = calibration_samples(laboratory, most)
    found = {sample.fingerprint() for sample in laboratory.samples(laboratory.common.find.whole)}
    seen = sum(sample.fingerprint() in found for sample in used)
    sets = "; ".join(each.set for each in laboratory.common.train)
    note = "" if not seen else ", where own overlaps may be higher than on unseen ones"
    return f"{sets}: {len(used)} images, whole; the filters were found on {seen} of them{note}"


def read_overlaps(
    laboratory: Laboratory,
    readers: Sequence[Reader],
    samples: Sequence[Sample],
    kinds: Sequence[CalibrationInput],
    reading: Reading,
) -> tuple[Overlaps, Overlaps]:
    """Return the overlap scores of all patches, and of all images.

    An image's magnitudes are the mean of those of its patches, as :func:`input_magnitudes` takes them; with
    ``reading.whole`` they are integrated over the whole image and there are no patches.

    Args:
        laboratory: Shares and keeps the pieces.
        readers: Target models with their filters.
        samples: HR images.
        kinds: Degradations of the inputs.
        reading: Rule by which filter^x is found.
    """
    prints = {sample.name: sample.fingerprint() for sample in samples}
    seed = laboratory.common.seed
    items = [(reader, sample, kind) for reader in readers for sample in samples for kind in kinds]
    sets = {reader.model.seed: [[*key, each.fingerprint()] for key, each in reader.sets.items()] for reader in readers}

    def identity(item: tuple[Reader, Sample, CalibrationInput]) -> Any:
        reader, sample, (_, degradation) = item
        how = asdict(reading) | {"precision": precision_on(reader.model.pair, reading)}
        return [reader.model.identity, sets[reader.model.seed], prints[sample.name], str(degradation), how, PATCH, seed]

    found = laboratory.store.compute(
        "overlap",
        items,
        identity,
        lambda item: _read(item[0], item[1], item[2][1], reading, seed),
        title=lambda item: f"{item[0].model.name}, {item[0].model.seed}, {item[1].name}, {item[2][1]}",
    )
    patches: list[Scored] = []
    images: list[Scored] = []
    for (reader, sample, (kind, degradation)), result in zip(items, found, strict=True):
        for rows, kept in ((result["patches"], patches), ([result["image"]], images)):
            for row in rows:
                scores = dict(zip(reader.sets, row, strict=True))
                kept.append(Scored(reader.model.seed, sample.name, kind, str(degradation), scores))
    return (
        Overlaps(tuple(patches), _median([each for result in found for each in result["seconds"]])),
        Overlaps(tuple(images), _median([sum(result["seconds"]) for result in found])),
    )


def _read(reader: Reader, sample: Sample, degradation: Degradation, reading: Reading, seed: int) -> Any:
    """Return the scores of an image's patches, those of the image, and how long every patch took."""
    pair, shares, seconds = reader.model.pair, [], []
    for image, truth in _parts(sample.truth(pair.scale), degradation, pair.scale, reading, seed):
        began = time.perf_counter()
        shares.append(input_magnitudes(pair, image, truth, reading))
        seconds.append(time.perf_counter() - began)
    rows = [_scores(reader, share) for share in shares]
    whole = _scores(reader, torch.stack(shares).mean(0))
    return {"patches": [] if reading.whole else rows, "image": whole, "seconds": seconds}


def _parts(
    truth: Tensor, degradation: Degradation, scale: int, reading: Reading, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the patches of a degraded image with their ground truth, or the image itself."""
    lowered = degradation.apply(truth, scale, seed=seed)
    if reading.whole:
        yield lowered, truth
        return
    corners = patch_corners(lowered.shape[-2], lowered.shape[-1], most=reading.patches)
    truths = cut_patches(truth, [(top * scale, left * scale) for top, left in corners], PATCH * scale)
    yield from zip(torch.split(cut_patches(lowered, corners), 1), torch.split(truths, 1), strict=True)


def _scores(reader: Reader, share: Tensor) -> list[float]:
    """Return the overlap scores in the order of the reader's sets."""
    return [overlap_scores(share, {name: each}, percent)[name] for (percent, name), each in reader.sets.items()]


def _median(seconds: Sequence[float]) -> float:
    return statistics.median(seconds) if seconds else float("nan")
