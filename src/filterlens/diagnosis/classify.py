# SPDX-License-Identifier: Apache-2.0
"""Classification of an input's degradations by the filters that the network uses on it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from filterlens.degradations import Degradation
from filterlens.degradations.pipeline import CLEAN
from filterlens.diagnosis.calibration import Calibration, paper_threshold
from filterlens.diagnosis.overlap import Reading, input_magnitudes, overlap_scores
from filterlens.errors import UsageError, unknown
from filterlens.filters import Selection
from filterlens.pair import ModelPair

THRESHOLDS = ("calibrated", "paper")


@dataclass(frozen=True)
class Verdict:
    """The verdict on one input.

    Attributes:
        present: Degradations whose overlap score reaches their threshold.
        scores: Degradation → OS(x, D).
        probabilities: Degradation → probability that it is present; empty without a calibration.
        unseen: Degradations that the present ones hide, so that they cannot be detected.
    """

    present: tuple[str, ...]
    scores: Mapping[str, float]
    probabilities: Mapping[str, float] = field(default_factory=dict)
    unseen: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """``clean``, or the present degradations in their written form, for example ``blur:2+noise:0.1``."""
        return join_degradations(self.present)

    @property
    def confidence(self) -> float | None:
        """The product, over all detectable degradations, of the probability that the label is right about each.

        None without a calibration.
        """
        if not self.probabilities:
            return None
        seen = {name: value for name, value in self.probabilities.items() if name not in self.unseen}
        return math.prod(value if name in self.present else 1 - value for name, value in seen.items())


@dataclass(frozen=True, eq=False)
class Classifier:
    """Classifies degradations by their overlap scores: D is present when OS(x, D) ≥ its threshold.

    Attributes:
        pair: Baseline and target.
        selections: Degradation → filter^D, its top ``percent`` %.
        percent: Share of the filters in filter^D and in filter^x.
        thresholds: Degradation → threshold on the overlap score.
        calibrations: Degradation → calibration, for probabilities and hidden degradations; may be empty.
        reading: Settings with which filter^x is found.

    Raises:
        UsageError: A threshold is missing, or the sets have different sizes.
    """

    pair: ModelPair
    selections: Mapping[str, Selection]
    percent: float
    thresholds: Mapping[str, float]
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    reading: Reading = field(default_factory=Reading)

    def __post_init__(self) -> None:
        missing = [name for name in self.selections if name not in self.thresholds]
        if missing or not self.selections:
            raise UsageError(f"There is no threshold for '{missing[0]}'." if missing else "There are no degradations.")
        count = int(len(self.pair.space) * self.percent / 100 + 1e-9)
        for name, selection in self.selections.items():
            if len(selection) != count or count == 0:
                raise UsageError(
                    f"{self.percent:g} % of {len(self.pair.space)} filters are {count}, but the set for '{name}' has "
                    f"{len(selection)}. Both sets of an overlap need the same size, 1 filter or more."
                )

    def scores(self, images: Tensor, truths: Tensor | None = None) -> dict[str, Tensor]:
        """Return OS(x, D): degradation → ``(B,)``.

        Args:
            images: LR ``(B, 3, h, w)`` in [0, 1], as the network gets them.
            truths: HR ``(B, 3, h·s, w·s)``, where the reading's objective is ``truth``.
        """
        found = [self._scores_of(images[index : index + 1], truths, index) for index in range(len(images))]
        return {name: torch.tensor([scores[name] for scores in found]) for name in self.selections}

    def classify(self, images: Tensor, truths: Tensor | None = None) -> list[Verdict]:
        """Return one verdict per image; arguments as for :meth:`scores`."""
        return [self.judge(self._scores_of(images[index : index + 1], truths, index)) for index in range(len(images))]

    def judge(self, scores: Mapping[str, float]) -> Verdict:
        """Return the verdict on an input with the given overlap scores."""
        present = tuple(name for name, score in scores.items() if score >= self.thresholds[name])
        probabilities = {name: each.curve(scores[name]) for name, each in self.calibrations.items()}
        unseen = tuple(
            name
            for name, each in self.calibrations.items()
            if name not in present and not set(each.hidden_by).isdisjoint(present)
        )
        return Verdict(present, scores, probabilities, unseen)

    def _scores_of(self, image: Tensor, truths: Tensor | None, index: int) -> dict[str, float]:
        truth = None if truths is None else truths[index : index + 1]
        magnitudes = input_magnitudes(self.pair, image, truth, self.reading)
        return overlap_scores(magnitudes, self.selections, self.percent)


def choose_thresholds(
    name: str, degradations: tuple[str, ...], calibrations: Mapping[str, Calibration]
) -> dict[str, float]:
    """Return the thresholds of a set: ``paper`` or ``calibrated``.

    Raises:
        UsageError: The set is unknown, or there is no calibration.
    """
    if name not in THRESHOLDS:
        raise unknown("set of thresholds", name, THRESHOLDS)
    if name == "paper":
        return {degradation: paper_threshold(degradation) for degradation in degradations}
    if missing := [degradation for degradation in degradations if degradation not in calibrations]:
        raise UsageError(f"'{missing[0]}' is not calibrated at this percentage. Use --thresholds paper.")
    return {degradation: calibrations[degradation].threshold for degradation in degradations}


def join_degradations(names: tuple[str, ...]) -> str:
    """Write several degradations as one: ``clean`` for none, else joined by ``+`` in the order of the pipeline."""
    joined = "+".join(names) or CLEAN
    try:
        return str(Degradation.parse(joined))
    except UsageError:  # two strengths of one effect have no common written form
        return joined
