# SPDX-License-Identifier: Apache-2.0
"""The filters whose return to the baseline takes one function away and nothing else: this project's own ranking."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from filterlens.arguments import is_whole
from filterlens.attribution.crops import as_one, varied_crops
from filterlens.attribution.engine import Engine
from filterlens.attribution.goal import Crop, Pairing, Weights
from filterlens.attribution.goal_refinement import Refinement, unpacked
from filterlens.attribution.goal_start import mean_parts, nodes, removal_and_disturbance
from filterlens.attribution.mask_optimisation import Schedule
from filterlens.attribution.method import IN_ORDER, Method
from filterlens.attribution.result import Attribution, as_scores
from filterlens.attribution.units import Measurement, Runner, Unit
from filterlens.data.samples import Images, Sample, as_samples
from filterlens.degradations import Degradation, parse_degradations
from filterlens.degradations.pipeline import CLEAN, Degradations
from filterlens.errors import UsageError
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress


class GoalDirected(Method):
    r"""Ask directly: which few filters, put back to the baseline, take away this function *and nothing else*?

    1. **One-shot score** on a few crops: r − μ Σ_E p^E, what a filter's return to the baseline removes along the path,
       less what it disturbs on every input E that must stay (the other degradations, and clean).
    2. **Refinement**: a weight in [0, 1] per filter, 1 % of the filters in sum, optimised on many varied crops for
       removal and preservation of the edited network itself; see :mod:`filterlens.attribution.mask_optimisation`.

    μ, the part of the path, and when to stop refining are chosen on further crops, drawn from the same images. Nothing
    looks at a ground truth.
    All work is done on crops, so neither the size nor the number of the images changes how long it takes; for the same
    reason gradients in bfloat16 are not checked against float32.

    Args:
        pair: Baseline and target.
        refine: False keeps the one-shot score.
        schedule: Of the refinement.
        weights: What removal and preservation count in the objective.
        crops: How many crops the refinement sees; the one-shot score sees the first ``start_crops`` of them.
        start_crops: See ``crops``.
        held_out: How many further crops the choices are made on.
        side: LR pixels of a crop's side.
        **conditions: ``protocol``, ``precision``, ``seed``, ``memory``; see
            :class:`filterlens.attribution.method.Method`.

    Raises:
        UsageError: A count below 1.
    """

    name = "goal-directed"
    summary = "the few filters that, put back to the baseline, take one function away and leave all else (ours)"

    def __init__(
        self,
        pair: ModelPair,
        *,
        refine: bool = True,
        schedule: Schedule | None = None,
        weights: Weights | None = None,
        crops: int = 48,
        start_crops: int = 4,
        held_out: int = 6,
        side: int = 64,
        **conditions: Any,
    ) -> None:
        super().__init__(pair, **conditions)
        counts = {"crops": crops, "start_crops": start_crops, "held_out": held_out, "side": side}
        for what, count in counts.items():
            if not is_whole(count) or count < 1:
                raise UsageError(f"{what}={count} is not legal: 1 or more.")
        self.schedule = (schedule or Schedule()) if refine else None
        self.weights = weights or Weights()
        self.counts = counts | {"start_crops": min(crops, start_crops)}
        self.inputs: tuple[str, ...] = ()
        memory = None if self.memory is None else self.memory * 2**30
        self.engine = Engine(pair, self.precision, memory=memory)

    def attribute(
        self,
        images: Images,
        degradations: Degradations,
        *,
        progress: Progress = SILENT,
        runner: Runner = IN_ORDER,
    ) -> Attribution:
        """Score every filter for each degradation; see :meth:`filterlens.attribution.method.Method.attribute`.

        What must stay are the other degradations of the list and clean inputs.
        """
        wanted = parse_degradations(degradations)
        self.inputs = tuple(sorted({*wanted, CLEAN}))
        discovery, held_out = self._crops(as_samples(images, progress.note))
        parts = self._parts(discovery[: self.counts["start_crops"]], progress, runner)
        refinement = Refinement(
            self.engine,
            parts,
            cache(partial(self._on_crops, discovery)),
            cache(partial(self._on_crops, held_out)),
            weights=self.weights,
            schedule=self.schedule,
            facts=self.settings(),
        )
        units = [Unit(as_one([*discovery, *held_out]), degradation) for degradation in wanted.values()]
        found = [unpacked(each.magnitudes, self.schedule) for each in runner.measurements(refinement, units, progress)]
        scores = {name: as_scores(each, self.pair.dtype) for name, (each, _) in zip(wanted, found, strict=True)}
        chosen = {name: choice for name, (_, choice) in zip(wanted, found, strict=True)}
        return Attribution(self.name, self.pair.space, scores, self.settings(chosen_on_held_out_crops=chosen))

    @property
    def passes(self) -> int:
        """How many gradients an input of a crop takes for the one-shot score."""
        return 2 * len(nodes())

    def prepare(self, unit: Unit) -> tuple[Tensor, ...]:
        """Return the degraded crop."""
        return (self.degraded(self.truth_of(unit.sample), unit.degradation),)

    def measure(self, unit: Unit, prepared: tuple[Tensor, ...], step: Callable[[], None]) -> Measurement:
        """Return removal and disturbance of one crop with one degradation, ``(2, parts, filters)``."""
        return Measurement(removal_and_disturbance(self.engine, Pairing.of(self.engine, prepared[0]), step))

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return what decided the scores, for the record."""
        refined = {"schedule": asdict(self.schedule)} if self.schedule else {}
        own = {"weights": asdict(self.weights), "kept": list(self.inputs), "refined": bool(refined)}
        return super().settings(**own, **self.counts, **refined, **more)

    def _crops(self, samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
        """Return the crops to find on, and those to choose on."""
        multiple = math.lcm(self.pair.scale, self.protocol.multiple)
        side = self.counts["side"] * self.pair.scale
        found = varied_crops(samples, side, self.counts["crops"], multiple, key=f"{self.seed}/find")
        aside = varied_crops(samples, side, self.counts["held_out"], multiple, key=f"{self.seed}/choose")
        return found, aside

    def _parts(self, crops: Sequence[Sample], progress: Progress, runner: Runner) -> dict[str, Tensor]:
        """Return removal and disturbance, mean over the crops, per input."""
        units = [Unit(crop, Degradation.parse(name)) for crop in crops for name in self.inputs]
        stream = runner.measurements(self, units, progress)
        measured = [{name: next(stream).magnitudes for name in self.inputs} for _ in crops]
        next(stream, None)  # lets the stream close its bar
        return mean_parts(measured)

    @torch.no_grad()
    def _on_crops(self, crops: Sequence[Sample]) -> list[Crop]:
        """Degrade crops in every way, and run both networks."""
        return [
            {name: Pairing.of(self.engine, self.degraded(truth, Degradation.parse(name))) for name in self.inputs}
            for truth in map(self.truth_of, crops)
        ]
