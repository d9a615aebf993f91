# SPDX-License-Identifier: Apache-2.0
"""What a network gains on one input, and what can be seen of that without ground truth."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.diagnosis.overlap import Reading, input_magnitudes, overlap_scores
from filterlens.filters import Selection
from filterlens.metrics import psnr
from filterlens.pair import ModelPair
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.pieces import digest

HIGHEST_PSNR = 100.0  # dB; equal images would be infinitely good, and two of them gain nothing
LEAST_CHANGE = 1e-12


@dataclass(frozen=True)
class Case:
    """One image with one input, seen by one target model.

    Attributes:
        image: Name of the image.
        input: Written degradation.
        baseline: PSNR of the baseline, in dB.
        target: PSNR of the target, in dB.
        overlaps: Degradation D → OS(x, D), found without ground truth.
        change: Mean squared change of the output by the fine-tuning, ‖F(θ, x) − F(θ̄, x)‖² per value.
    """

    image: str
    input: str
    baseline: float
    target: float
    overlaps: Mapping[str, float]
    change: float

    @property
    def gain(self) -> float:
        """PSNR of the target minus that of the baseline, in dB."""
        return self.target - self.baseline

    @property
    def overlap(self) -> float:
        """The largest overlap score of all degradations: how far the input is one that the network knows."""
        return max(self.overlaps.values())

    @property
    def log_change(self) -> float:
        """Decimal logarithm of the change."""
        return math.log10(max(self.change, LEAST_CHANGE))


def overlap_with(kind: str) -> Callable[[Case], float]:
    """Return what reads a case's overlap score with one degradation."""
    return lambda case: case.overlaps[kind]


def measure_cases(
    laboratory: Laboratory,
    model: TargetModel,
    selections: Mapping[str, Selection],
    percent: float,
    samples: Sequence[Sample],
    inputs: Sequence[str],
) -> list[Case]:
    """Measure all inputs of all images; each input of an image is a piece of work.

    Args:
        laboratory: Shares and keeps the pieces.
        model: The networks.
        selections: Degradation → filter^D, its top ``percent`` %.
        percent: Share of the filters in both sets of an overlap.
        samples: HR images, small enough to be judged as one patch.
        inputs: Written degradations.
    """
    reading = Reading(patches=1, precision=laboratory.fast_precision)
    prints = {sample.name: sample.fingerprint() for sample in samples}
    filters = {name: digest(selection.indices.sort().values.tolist()) for name, selection in selections.items()}
    settings = [filters, percent, asdict(reading), laboratory.judge_precision, laboratory.common.seed]
    items = [(sample, text) for sample in samples for text in inputs]
    rows = laboratory.pieces.of(
        "boundary",
        items,
        identity=lambda item: [model.identity, prints[item[0].name], item[1], settings],
        compute=lambda item: asdict(_case(laboratory, model, selections, percent, reading, *item)),
        title=lambda item: f"{model.name}, {model.seed}, {item[0].name}, {item[1]}",
    )
    return [Case(**row | {"image": sample.name}) for (sample, _), row in zip(items, rows, strict=True)]


def _case(
    laboratory: Laboratory, model: TargetModel, selections: Mapping[str, Selection], percent: float,
    reading: Reading, sample: Sample, text: str,
) -> Case:  # fmt: skip
    pair = model.pair
    truth = sample.truth(pair.scale)
    low = Degradation.parse(text).apply(truth, pair.scale, seed=laboratory.common.seed)
    baseline, target = _outputs(pair, low, laboratory.judge_precision)
    magnitudes = input_magnitudes(pair, low, reading=reading)
    return Case(
        image=sample.name,
        input=text,
        baseline=_psnr(baseline, truth, pair.scale),
        target=_psnr(target, truth, pair.scale),
        overlaps=overlap_scores(magnitudes, selections, percent),
        change=float((target - baseline).double().square().mean()),
    )


@torch.no_grad()
def _outputs(pair: ModelPair, low: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    return pair.run(pair.baseline, low, precision).cpu(), pair.run(pair.target, low, precision).cpu()


def _psnr(image: Tensor, truth: Tensor, crop: int) -> float:
    return min(float(psnr(image, truth, crop=crop)), HIGHEST_PSNR)
