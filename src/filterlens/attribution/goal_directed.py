# SPDX-License-Identifier: Apache-2.0
"""Goal-directed ranking, this project's own method: filters whose return to the baseline removes one function only."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from filterlens.arguments import is_whole
from filterlens.attribution.goal import CHOICES, Crop, Goal, Pairing, Weights, nodes, one_shot, removal_and_disturbance
from filterlens.attribution.mask_optimisation import Schedule, in_rounds, joined, optimise_mask, rank_logits
from filterlens.attribution.method import DegradedImage, Method, finite
from filterlens.attribution.result import Attribution, as_scores
from filterlens.attribution.settings import AttributeSettings
from filterlens.data.samples import Images, PairedSample, Sample
from filterlens.degradations.given import AnyDegradations
from filterlens.degradations.inputs import GivenPairs, Inputs, part_of_pair
from filterlens.degradations.randomness import derive_seed
from filterlens.errors import UsageError
from filterlens.filters import ranking
from filterlens.pair import ModelPair, between
from filterlens.progress import Progress
from filterlens.showing.bars import AnyProgress, as_progress
from filterlens.work.store import NOTHING_KEPT, Step, Store

SHOWN = 80  # steps of a progress bar, at most


class GoalDirected(Method):
    r"""Search directly for the few filters that, put back to the baseline, remove one function *and nothing else*.

    1. **One-shot score** on a few crops: r − μ Σ_E p^E, the removal by a filter's return to the baseline along the
       path, less its disturbance of every input E that must stay (the other degradations, and clean).
    2. **Refinement**: a weight in [0, 1] per filter, 1 % of the filters in sum, optimised on many varied crops for
       removal and preservation of the edited network itself; see :mod:`filterlens.attribution.mask_optimisation`.

    μ, the part of the path, and when to stop refining are chosen on further crops, drawn from the same images. No
    ground truth is used.
    All work is done on crops, so neither the size nor the number of the images changes how long it takes; for the same
    reason gradients in bfloat16 are not checked against float32.

    Args:
        pair: Baseline and target.
        settings: All settings in one value; None takes ``given``.
        refine: Whether the one-shot score is refined.
        schedule: Steps, rate and budget of the refinement.
        weights: Weights of removal and preservation in the objective.
        crops: Number of crops for the refinement; the one-shot score uses the first ``start_crops`` of them.
        start_crops: Number of crops for the one-shot score.
        held_out: Number of further crops, on which the choices are made.
        side: Side of a crop in LR pixels.
        **given: Settings as keywords: ``protocol``, ``precision``, ``seed`` and ``memory``; see
            :class:`filterlens.attribution.settings.AttributeSettings`.

    Raises:
        UsageError: A count below 1, or a setting that the method does not take.
    """

    name = "goal-directed"
    summary = "the few filters that, put back to the baseline, take one function away and leave all else (ours)"

    def __init__(
        self,
        pair: ModelPair,
        settings: AttributeSettings | None = None,
        *,
        refine: bool = True,
        schedule: Schedule | None = None,
        weights: Weights | None = None,
        crops: int = 48,
        start_crops: int = 4,
        held_out: int = 6,
        side: int = 64,
        **given: Any,
    ) -> None:
        super().__init__(pair, settings, **given)
        counts = {"crops": crops, "start_crops": start_crops, "held_out": held_out, "side": side}
        for what, count in counts.items():
            if not is_whole(count) or count < 1:
                raise UsageError(f"{what}={count} is not legal: 1 or more.")
        self.schedule = (schedule or Schedule()) if refine else None
        self.weights = weights or Weights()
        self.counts = counts | {"start_crops": min(crops, start_crops)}
        self.kept: tuple[str, ...] = ()
        self.engine = self.engine_in(self.precision)

    def attribute(
        self,
        images: Images | Inputs | None = None,
        degradations: AnyDegradations = None,
        *,
        pairs: GivenPairs | None = None,
        progress: AnyProgress = False,
        store: Store = NOTHING_KEPT,
    ) -> Attribution:
        """Score every filter for each degradation; see :meth:`filterlens.attribution.method.Method.attribute`.

        The other degradations of the list and clean inputs must stay. Processes share the crops of the
        one-shot score and then the degradations; the steps of a refinement follow each other.
        """
        progress = as_progress(progress)
        given = self.inputs(images, degradations, pairs, progress)
        wanted, given = list(given.degradations), given.with_clean()
        self.kept = tuple(sorted(given.degradations))
        discovery, held_out = self._crops(given)
        removed, disturbed = self._gradients(discovery, progress, store)
        search = _Search(
            removed,
            disturbed,
            cache(partial(self._goal_on, discovery)),
            cache(partial(self._goal_on, held_out)),
            self.schedule,
        )
        crops = [crop.fingerprint() for each in (discovery, held_out) for crop in each.all_samples]
        hows = {name: each.fingerprint for name, each in given.degradations.items() if each.fingerprint != name}
        identity = [self.pair.identity, self.record(), crops, *([hows] if hows else [])]
        store = NOTHING_KEPT if None in hows.values() else store
        found = list(
            store.stream(
                f"{self.name}-sets",
                wanted,
                lambda own: [*identity, own],
                lambda own, _, step: search.run(own, step),
                steps=search.steps,
                progress=progress,
            )
        )
        scores = {name: as_scores(each["scores"], self.pair.dtype) for name, each in zip(wanted, found, strict=True)}
        chosen = {name: each["choice"] for name, each in zip(wanted, found, strict=True)}
        return Attribution(self.name, self.pair.space, scores, self.record(chosen_on_held_out_crops=chosen))

    def record(self, **more: Any) -> dict[str, Any]:
        """Return everything that decided the scores, for the record."""
        refined = {"schedule": asdict(self.schedule)} if self.schedule else {}
        own = {"weights": asdict(self.weights), "kept": list(self.kept), "refined": bool(refined)}
        return super().record(**own, **self.counts, **refined, **more)

    def _crops(self, given: Inputs) -> tuple[Inputs, Inputs]:
        """Return the crops to find on, and those to choose on: as many of every degradation."""
        side, seed = self.counts["side"], self.settings.seed
        scale = self.pair.scale
        found: list[Inputs] = []
        for count, purpose in ((self.counts["crops"], "find"), (self.counts["held_out"], "choose")):
            known: dict[int, list[Sample]] = {}  # those that share their images share their crops
            for samples in given.samples.values():
                cuts = partial(varied_crops, samples, side * scale, count, self.multiple, scale=scale)
                known.setdefault(id(samples), [])
                known[id(samples)] = known[id(samples)] or cuts(key=f"{seed}/{purpose}")
            crops = {name: known[id(samples)] for name, samples in given.samples.items()}
            found.append(Inputs(given.degradations, crops))
        return found[0], found[1]

    def _gradients(
        self, crops: Inputs, progress: Progress, store: Store
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return removal and disturbance per input, mean over the first crops."""
        images = [
            DegradedImage(crops.samples[name][number], crops.degradations[name], name)
            for number in range(self.counts["start_crops"])
            for name in self.kept
        ]
        measured = list(self.results(images, self._measure, steps=2 * len(nodes()), progress=progress, store=store))
        of_input = {name: measured[start :: len(self.kept)] for start, name in enumerate(self.kept)}
        removed, disturbed = (
            {name: torch.stack([each[what] for each in found]).mean(0) for name, found in of_input.items()}
            for what in ("removed", "disturbed")
        )
        return removed, disturbed

    def _measure(self, image: DegradedImage, _: None, step: Step) -> dict[str, Tensor]:
        inputs = self.example(image).lowered
        with image.named():
            removed, disturbed = removal_and_disturbance(self.engine, Pairing.of(self.engine, inputs), step)
            return {"removed": finite(removed), "disturbed": finite(disturbed)}

    @torch.no_grad()
    def _goal_on(self, given: Inputs) -> Callable[[str], Goal]:
        """Degrade crops in every way, run both networks, and return what makes the goal of a function."""
        images = {
            name: [DegradedImage(crop, given.degradations[name], name) for crop in given.samples[name]]
            for name in self.kept
        }
        crops: list[Crop] = [
            {image.input: Pairing.of(self.engine, self.example(image).lowered) for image in row}
            for row in zip(*images.values(), strict=True)
        ]
        return lambda own: Goal(self.engine, crops, own, self.weights)


class _Search:
    """The search from the one-shot score of a function to a set of its filters.

    Args:
        removed: Input's name → r, mean over the crops; see :func:`filterlens.attribution.goal.one_shot`.
        disturbed: Input's name → p, mean over the crops.
        discovery: Function that returns the maker of a function's goal on the crops to optimise on; called only
            where it is needed, and not at all when everything is on disk.
        held_out: The same for the crops on which choices are made.
        schedule: Steps of the refinement; None keeps the one-shot score.
    """

    def __init__(
        self,
        removed: Mapping[str, Tensor],
        disturbed: Mapping[str, Tensor],
        discovery: Callable[[], Callable[[str], Goal]],
        held_out: Callable[[], Callable[[str], Goal]],
        schedule: Schedule | None,
    ) -> None:
        self.removed, self.disturbed, self.schedule = removed, disturbed, schedule
        self.discovery, self.held_out = discovery, held_out
        filters = next(iter(removed.values())).shape[-1]
        self.count = (schedule or Schedule()).budget(filters)

    @property
    def steps(self) -> int:
        """How many steps of progress a function shows."""
        return len(CHOICES) + (min(SHOWN, self.schedule.steps) if self.schedule else 0)

    def run(self, own: str, step: Step) -> dict[str, Any]:
        """Return the scores ``(filters,)`` of a function, and the μ, part of the path and steps that were chosen."""
        judge = self.held_out()(own)
        others = {name: values for name, values in self.disturbed.items() if name != own}
        starts = [one_shot(self.removed[own], others, choice) for choice in CHOICES]
        chosen = self._best(judge, starts, step)
        scores, steps = starts[chosen], 0
        if self.schedule is not None:
            looks = {0: rank_logits(scores)} | self._refined(own, scores, self.schedule, step)
            steps = list(looks)[self._best(judge, list(looks.values()), lambda: None)]
            scores = looks[steps]
        return {"scores": finite(scores), "choice": asdict(CHOICES[chosen]) | {"steps": steps}}

    def _best(self, judge: Goal, candidates: Sequence[Tensor], step: Step) -> int:
        """Return which candidate's top filters have the smallest J on the crops kept aside; the first of equals."""
        values = []
        for scores in candidates:
            values.append(judge.value(at_top(judge.engine.pair, scores, self.count)))
            step()
        return values.index(min(values))

    def _refined(self, own: str, start: Tensor, schedule: Schedule, step: Step) -> dict[int, Tensor]:
        """Return the scores after a few numbers of steps of the optimisation, the last one included."""
        goal = self.discovery()(own)
        order = in_rounds(len(goal.crops), schedule.steps, own)
        looks: dict[int, Tensor] = {}

        def gradient(number: int, mask: Tensor) -> Tensor:
            if number * SHOWN // schedule.steps != (number - 1) * SHOWN // schedule.steps:
                step()
            return goal.gradient(order[number], at_mask(goal.engine.pair, mask))

        def look(done: int, logits: Tensor) -> None:
            if done in schedule.moments:
                looks[done] = joined(logits, start, self.count)

        optimise_mask(rank_logits(start), gradient, schedule, look)
        return looks


def varied_crops(
    samples: Sequence[Sample], side: int, count: int, multiple: int, *, key: str, scale: int = 1
) -> list[Sample]:
    """Cut ``count`` square crops at random places, as evenly from all images as possible, each varied in its own way.

    A crop is rotated by a multiple of 90°, mirrored or not, and its color channels are permuted: a few images then
    show as many directions and colors as many images do; otherwise sets of filters would fit those few.

    Args:
        samples: The images; their order does not matter, their content decides. Of pairs, both images are cut alike.
        side: HR pixels of a crop; a smaller image gives crops of its own shorter side.
        count: Number of crops in all.
        multiple: Number that divides the sides of crops.
        key: Key that, with the content of an image and the number of the crop, decides place and variation.
        scale: HR size over LR size, for pairs.

    Returns:
        Crops as samples, float in [0, 1], one image after the other in turn.
    """
    ordered = sorted(samples, key=lambda sample: derive_seed(key, sample.fingerprint()))
    chosen = list(zip(range(count), itertools.cycle(ordered)))
    return [
        _varied(sample, side, multiple, scale, derive_seed(key, number), f"crop {number + 1} of {count}")
        for number, sample in chosen
    ]


def _varied(sample: Sample, side: int, multiple: int, scale: int, seed: int, name: str) -> Sample:
    """Return one varied crop of an image, or of both images of a pair."""
    if isinstance(sample, PairedSample):

        def cut(image: Tensor, unit: int) -> Tensor:
            return _cut(image, side * unit // scale, multiple * unit // scale, seed)

        return part_of_pair(sample, scale, multiple, name, cut)
    return Sample(name, lambda: _cut(sample.truth(multiple)[0], side, multiple, seed))


def _cut(image: Tensor, side: int, multiple: int, seed: int) -> Tensor:
    """Return one varied crop ``(C, size, size)`` of ``(C, H, W)``."""
    height, width = image.shape[-2:]
    size = max(multiple, min(side, height, width) // multiple * multiple)
    draw = np.random.default_rng(seed)
    top, left = (int(draw.integers((length - size) // multiple + 1)) * multiple for length in (height, width))
    colours = torch.from_numpy(draw.permutation(3))
    crop = (image[colours] if len(image) == 3 else image)[:, top : top + size, left : left + size]
    crop = torch.rot90(crop, int(draw.integers(4)), (1, 2))
    return (crop.flip(2) if draw.integers(2) else crop).contiguous()


def at_mask(pair: ModelPair, mask: Tensor) -> Tensor:
    """Return θ + m (θ̄ − θ) as a flat vector, every filter with its own m in [0, 1]; biases stay the target's."""
    return between(pair.target, pair.baseline, pair.weight_mask(mask.to(pair.dtype)))


def at_top(pair: ModelPair, scores: Tensor, count: int) -> Tensor:
    """Return the target with the ``count`` best filters at the baseline, flat."""
    mask = torch.zeros(len(scores))
    mask[ranking(scores)[:count]] = 1
    return at_mask(pair, mask)
