# SPDX-License-Identifier: Apache-2.0
"""The two sides of the comparison with the reference loop; what is here runs in a child process of its own."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeVar

import torch
from torch import Tensor

from benchmarks.engine import Rule
from benchmarks.harness.images import ImageChoice
from benchmarks.harness.timing import seconds_of
from benchmarks.reference_loop import LoopSample, ReferenceLoop
from filterlens import FAIG, Degradation, ModelPair, Quadrature
from filterlens.data.images import crop_to_multiple, to_float
from filterlens.filters import ranking
from filterlens.models.checkpoints import LoadedNetwork, load_network
from filterlens.models.pretrained import pair_files

Result = TypeVar("Result")

DEGRADATIONS = ("blur:2", "noise:0.1")
TOP = 0.01


@dataclass(frozen=True)
class Case:
    """What both sides are given.

    Attributes:
        pair: A pair that ships.
        images: Ground truth.
        device: Where to compute.
    """

    pair: str
    images: ImageChoice
    device: torch.device


@dataclass(frozen=True)
class Way:
    """One way in which filterlens integrates.

    Attributes:
        title: In the table.
        rule: The nodes.
        precision: ``auto`` or ``fp32``.
    """

    title: str
    rule: Rule
    precision: str = "auto"


@dataclass(frozen=True)
class Outcome:
    """What one side found.

    Attributes:
        seconds: It took, loading excluded.
        tops: The top 1 % of the filters for each degradation.
        gap: The largest completeness gap over images and degradations.
        nodes: Of every image and degradation.
        precision: In which it computed.
    """

    seconds: float
    tops: tuple[frozenset[int], ...]
    gap: float
    nodes: tuple[int, ...]
    precision: str

    def overlap(self, other: "Outcome") -> float:
        """Return the smallest share, over the degradations, of these top filters that are in the other's too."""
        return min(len(mine & its) / len(mine) for mine, its in zip(self.tops, other.tops, strict=True))


def attribute(case: Case, way: Way) -> Outcome:
    """Let filterlens rank all filters for all degradations; degrading the images counts."""
    _warm_up_filterlens(case, way.precision)
    method, images = FAIG(_pair(case), quadrature=way.rule, precision=way.precision), case.images.load()
    seconds, found = _timed(lambda: method.attribute(images, DEGRADATIONS), case.device)
    return Outcome(
        seconds=seconds,
        tops=tuple(_top(found.of(degradation)) for degradation in DEGRADATIONS),
        gap=found.completeness_gap,
        nodes=tuple(entry.nodes for entry in found.completeness),
        precision=str(found.settings["precision"]),
    )


def loop_node(case: Case, k: int) -> list[float]:
    """Return the seconds that node k of the reference loop takes on each image, its two passes together."""
    loop, samples = _loop(case), _samples(case)
    _warm_up_loop(case)
    totals = [loop.zeros(), loop.zeros()]
    return [seconds_of(partial(loop.add_node, k, sample, totals), case.device) for sample in samples]


def loop_ranking(case: Case, rankings: int) -> Outcome:
    """Run the whole reference loop, as many times over as rankings are wanted: the second is the first, negated."""
    loop, samples = _loop(case), _samples(case)
    _warm_up_loop(case)
    seconds, found = _timed(lambda: [loop.ranking(samples) for _ in range(rankings)], case.device)
    scores, gap = found[0]
    return Outcome(seconds, (_top(scores), _top(-scores)), gap, (loop.nodes,), "fp32")


def _timed(task: Callable[[], Result], device: torch.device) -> tuple[float, Result]:
    results: list[Result] = []
    seconds = seconds_of(lambda: results.append(task()), device)
    return seconds, results[0]


def _top(scores: Tensor) -> frozenset[int]:
    return frozenset(ranking(scores)[: int(len(scores) * TOP)].tolist())


@cache
def _pair(case: Case) -> ModelPair:
    return ModelPair.pretrained(case.pair).to(case.device)


@cache
def _warm_up_filterlens(case: Case, precision: str) -> None:
    image = next(iter(case.images.load().values()))
    FAIG(_pair(case), quadrature=Quadrature("midpoint", 1), precision=precision).attribute(image, DEGRADATIONS)


@cache
def _networks(case: Case) -> tuple[LoadedNetwork, LoadedNetwork]:
    baseline, target = (load_network(path) for path in pair_files(case.pair))
    return baseline, target


@cache
def _loop(case: Case) -> ReferenceLoop:
    baseline, target = (loaded.network.to(case.device).state_dict() for loaded in _networks(case))
    network = copy.deepcopy(_networks(case)[1].network)
    return ReferenceLoop(network, baseline, target)


@cache
def _samples(case: Case) -> tuple[LoopSample, ...]:
    """Degrade the images as filterlens' default protocol does; this is not counted for the reference loop."""
    scale, samples = _networks(case)[1].scale, []
    for image in case.images.load().values():
        truth = to_float(crop_to_multiple(image, scale))
        own, other = (Degradation.parse(each).apply(truth, scale).to(case.device) for each in DEGRADATIONS)
        samples.append(LoopSample((own, other), truth.to(case.device)))
    return tuple(samples)


@cache
def _warm_up_loop(case: Case) -> None:
    loop = _loop(case)
    for sample in _samples(case):
        loop.add_node(0, sample, [loop.zeros(), loop.zeros()])
