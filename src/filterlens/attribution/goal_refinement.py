# SPDX-License-Identifier: Apache-2.0
"""From a one-shot score to a set that was tried: one function's filters, optimised on crops, as a unit of work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import torch
from torch import Tensor

from filterlens.attribution.engine import Engine
from filterlens.attribution.goal import Crop, Goal, Weights
from filterlens.attribution.goal_start import CHOICES, one_shot
from filterlens.attribution.mask_optimisation import Schedule, optimise_mask, rank_logits
from filterlens.attribution.units import Measurement, Unit
from filterlens.degradations.randomness import derive_seed
from filterlens.filters import ranking
from filterlens.pair import ModelPair, between

LOOKS = 4  # how often a refinement is judged on the crops that were kept aside
SHOWN = 80  # steps of a progress bar, at most


def at_mask(pair: ModelPair, mask: Tensor) -> Tensor:
    """Return θ + m (θ̄ − θ) as a flat vector, every filter with its own m in [0, 1]; biases stay the target's."""
    return between(pair.target, pair.baseline, pair.weight_mask(mask.to(pair.dtype)))


def at_top(pair: ModelPair, scores: Tensor, count: int) -> Tensor:
    """Return the target with the ``count`` best filters at the baseline, flat."""
    mask = torch.zeros(len(scores))
    mask[ranking(scores)[:count]] = 1
    return at_mask(pair, mask)


def moments_of(schedule: Schedule) -> list[int]:
    """Return after how many steps a refinement is judged."""
    return sorted({max(1, schedule.steps * look // LOOKS) for look in range(1, LOOKS + 1)})


def unpacked(packed: Tensor, schedule: Schedule | None) -> tuple[Tensor, dict[str, Any]]:
    """Take apart what a unit returned: the scores ``(filters,)``, and the μ, part of the path and steps chosen."""
    choice, look = (int(number) for number in packed[-2:])
    steps = [0, *(moments_of(schedule) if schedule else ())][look]
    return packed[:-2], asdict(CHOICES[choice]) | {"steps": steps}


def joined(best: Tensor, rest: Tensor, count: int) -> Tensor:
    """Rank the first ``count`` filters of one ranking, and behind them all others as another ranking has them.

    The optimised numbers say which filters belong to the set of the budgeted size; of the filters outside they only say
    that these are not needed, while the one-shot score still says what they would disturb.

    Args:
        best: ``(filters,)``.
        rest: ``(filters,)``.
        count: How many filters come from ``best``.

    Returns:
        Log-odds of the places, ``(filters,)`` float64.
    """
    first = ranking(best)[:count]
    inside = torch.zeros(len(best), dtype=torch.bool)
    inside[first] = True
    others = ranking(rest)
    order = torch.cat([first, others[~inside[others]]])
    places = torch.empty(len(best), dtype=torch.float64)
    places[order] = -torch.arange(len(best), dtype=torch.float64)
    return rank_logits(places)


class Refinement:
    """A job whose units are functions: processes share the degradations, not the steps, which follow each other.

    Args:
        engine: Of the pair.
        parts: Removal and disturbance of every filter per input; see :mod:`filterlens.attribution.goal_start`.
        discovery: Computes the crops to optimise on; asked for once, and not at all when everything is on disk.
        held_out: Computes the crops on which choices are made.
        weights: Of the objective.
        schedule: None keeps the one-shot score.
        facts: The method's settings, for the record.
    """

    name: ClassVar[str] = "goal-directed-sets"

    def __init__(
        self,
        engine: Engine,
        parts: Mapping[str, Tensor],
        discovery: Callable[[], Sequence[Crop]],
        held_out: Callable[[], Sequence[Crop]],
        *,
        weights: Weights,
        schedule: Schedule | None,
        facts: Mapping[str, Any],
    ) -> None:
        self.engine, self.parts, self.discovery, self.held_out = engine, parts, discovery, held_out
        self.weights, self.schedule, self.facts = weights, schedule, facts
        self.count = (schedule or Schedule()).budget(len(engine.pair.space))

    @property
    def passes(self) -> int:
        """How many steps of progress a unit shows."""
        return len(CHOICES) + (min(SHOWN, self.schedule.steps) if self.schedule else 0)

    def settings(self) -> dict[str, Any]:
        """Return what decides a set."""
        return dict(self.facts)

    def prepare(self, unit: Unit) -> tuple[Tensor, ...]:
        """Return nothing: the crops are shared by all units."""
        return ()

    def measure(self, unit: Unit, prepared: tuple[Tensor, ...], step: Callable[[], None]) -> Measurement:
        """Return the scores of one function, and behind them what was chosen: see :func:`unpacked`."""
        own = str(unit.degradation)
        judge = Goal(self.engine, self.held_out(), own, self.weights)
        starts = [one_shot(self.parts, own, choice) for choice in CHOICES]
        choice = self._best(judge, starts, step)
        looks = [starts[choice]]
        if self.schedule is not None:
            looks = [rank_logits(looks[0]), *self._refined(own, looks[0], self.schedule, step)]
        look = self._best(judge, looks, lambda: None) if self.schedule else 0
        return Measurement(torch.cat([looks[look], torch.tensor([choice, look], dtype=torch.float64)]))

    def _best(self, judge: Goal, candidates: Sequence[Tensor], step: Callable[[], None]) -> int:
        """Return which candidate's top filters have the smallest J on the crops kept aside; the first of equals."""
        values = []
        for scores in candidates:
            values.append(judge.value(at_top(self.engine.pair, scores, self.count)))
            step()
        return values.index(min(values))

    def _refined(self, own: str, start: Tensor, schedule: Schedule, step: Callable[[], None]) -> list[Tensor]:
        """Return the scores at a few moments of the optimisation, the last one included."""
        goal = Goal(self.engine, self.discovery(), own, self.weights)
        moments = moments_of(schedule)
        order = _in_rounds(len(goal.crops), schedule.steps, own)
        looks: list[Tensor] = []

        def gradient(number: int, mask: Tensor) -> Tensor:
            if number * SHOWN // schedule.steps != (number - 1) * SHOWN // schedule.steps:
                step()
            return goal.gradient(order[number], at_mask(self.engine.pair, mask))

        def look(done: int, logits: Tensor) -> None:
            if done in moments:
                looks.append(joined(logits, start, self.count))

        optimise_mask(rank_logits(start), gradient, schedule, look)
        return looks


def _in_rounds(crops: int, steps: int, key: str) -> list[int]:
    """Return the crop of every step: all of them in a new order each round."""
    generator = torch.Generator().manual_seed(derive_seed("rounds", key))
    rounds = [torch.randperm(crops, generator=generator) for _ in range(-(-steps // crops))]
    order: list[int] = torch.cat(rounds)[:steps].tolist()
    return order
