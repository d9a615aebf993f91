# SPDX-License-Identifier: Apache-2.0
"""All re-trainings of one pair: the learning rate of every arm first, then every arm with every seed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from filterlens.errors import FilterlensError
from filterlens.paper.experiments.retraining.arms import Arm, arms_of, parts_of
from filterlens.paper.experiments.retraining.pieces import Training, Workshop
from filterlens.paper.experiments.retraining.results import Array, Retrainings, Searched
from filterlens.paper.experiments.retraining.settings import RetrainingSettings
from filterlens.paper.laboratory import Laboratory

Place = tuple[Arm, str]  # what is trained, on which degradation


def study(laboratory: Laboratory, settings: RetrainingSettings, name: str) -> Retrainings:
    """Re-train all arms of one pair."""
    work = _Study(laboratory, settings, name)
    searched = work.searched()
    rates = {place: best_rate(searched.get(place), work.grid(place), place) for place in work.places}
    trained = work.trained(rates)
    known = work.references()
    inputs = list(laboratory.inputs)
    return Retrainings(
        name=name,
        arms=arms_of(laboratory, settings),
        kinds=laboratory.common.degradations,
        inputs=inputs,
        psnr={(*place, given): _grid(each["psnr"][given] for each in trained[place])
              for place in work.places for given in inputs},
        references={(network, given): _grid(each[network][given] for each in known)
                    for network in ("baseline", "target") for given in inputs},
        weights={place: [each["weights"] for each in results] for place, results in trained.items()},
        rates=rates,
        searched=searched,
        losses={place: [each["losses"] for each in results] for place, results in trained.items()},
        resamples=laboratory.common.resamples,
    )  # fmt: skip


class _Study:
    """The trainings of one pair, by place and run; a run is a seed with the target model that belongs to it."""

    def __init__(self, laboratory: Laboratory, settings: RetrainingSettings, name: str) -> None:
        models = laboratory.targets(name)
        self.settings = settings
        self.runs = [(seed, models[seed % len(models)]) for seed in range(settings.seeds)]
        self.parts = [parts_of(laboratory, settings, model, seed) for seed, model in self.runs]
        self.shop = Workshop(laboratory, settings, name)
        arms = arms_of(laboratory, settings)
        self.places: list[Place] = [(arm, kind) for kind in laboratory.common.degradations for arm in arms]

    def grid(self, place: Place) -> Sequence[float]:
        """Return the learning rates of a place."""
        rates: Sequence[float] = getattr(self.settings.rates, place[0].kind)
        return rates

    def searched(self) -> Searched:
        """Try every rate with the first seed, where there are several."""
        steps = self.settings.search or self.settings.iterations
        tried = [(place, rate) for place in self.places if len(self.grid(place)) > 1 for rate in self.grid(place)]
        results = self.shop.train([self._training(0, place, rate, steps) for place, rate in tried])
        found: Searched = {}
        for (place, rate), result in zip(tried, results, strict=True):
            found.setdefault(place, {})[rate] = result.get("held_out")
        return found

    def trained(self, rates: Mapping[Place, float]) -> dict[Place, list[dict[str, Any]]]:
        """Train every place with every seed; one result per seed."""
        items = [(run, place) for run in range(len(self.runs)) for place in self.places]
        steps = self.settings.iterations
        results = self.shop.train([self._training(run, place, rates[place], steps) for run, place in items])
        found: dict[Place, list[dict[str, Any]]] = {place: [] for place in self.places}
        for (_, place), result in zip(items, results, strict=True):
            if "diverged" in result:
                raise FilterlensError(f"{place[0].label} on {place[1]}: {result['diverged']}")
            found[place].append(result)
        return found

    def references(self) -> list[dict[str, Any]]:
        """Return the PSNR of baseline and target for every run."""
        models = list(dict.fromkeys(model for _, model in self.runs))
        known = dict(zip(models, self.shop.references(models), strict=True))
        return [known[model] for _, model in self.runs]

    def _training(self, run: int, place: Place, rate: float, steps: int) -> Training:
        seed, model = self.runs[run]
        how = self.shop.retrain_settings(place[1], seed, rate, steps)
        return Training(model, seed, *place, self.parts[run][place], how, judged=steps == self.settings.iterations)


def best_rate(searched: Mapping[float, float | None] | None, grid: Sequence[float], place: Place) -> float:
    """Return the rate with the highest PSNR on held-out training images; of a single one, that one.

    Raises:
        FilterlensError: The training diverged at every rate.
    """
    if searched is None:
        return grid[0]
    reached = {rate: value for rate, value in searched.items() if value is not None}
    if not reached:
        arm, kind = place
        raise FilterlensError(
            f"Re-training {arm.label} on {kind} diverged at every learning rate of "
            f"{', '.join(f'{rate:g}' for rate in grid)}. Give lower ones in the recipe, retraining.rates.{arm.kind}."
        )
    return max(reached, key=lambda rate: reached[rate])


def _grid(rows: Any) -> Array:
    return np.array(list(rows), dtype=np.float64)
