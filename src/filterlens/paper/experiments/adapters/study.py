# SPDX-License-Identifier: Apache-2.0
"""All adapters of one pair as pieces of work: found, filed and judged; re-trained, filed and judged."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from filterlens.data.samples import Sample
from filterlens.editing.adapt import adapt
from filterlens.editing.adapter import Adapter
from filterlens.editing.retrain import retrain
from filterlens.editing.retrain_settings import RetrainSettings, settings_for
from filterlens.editing.trained_part import SelectedFilters
from filterlens.evaluation.statistics import Array
from filterlens.pair import ModelPair
from filterlens.paper.experiments.adapters.bench import Bench, Place, checkpoint_bytes, filed, flat, psnr_of
from filterlens.paper.experiments.adapters.results import RETRAINED, Adapted
from filterlens.paper.experiments.adapters.settings import AdapterSettings
from filterlens.paper.images import evenly
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.pieces import digest

CLEAN = "clean"
WARM_UP = 20  # the first 1/20 of the steps


class Training(NamedTuple):
    """The filters of one place, re-trained in the baseline of one target model."""

    bench: Bench
    place: Place


def study(laboratory: Laboratory, settings: AdapterSettings, name: str) -> Adapted:
    """Make and judge all adapters of one pair."""
    work = _Study(laboratory, settings, name)
    sizes, rows, trained = work.sizes(), work.rows(), work.trained()
    psnr: dict[tuple[str, str, float, str], Array] = _tables(rows, lambda row: row["kind"] != "")
    references = _tables(rows, lambda row: row["kind"] == "")
    psnr |= {(RETRAINED, *place, given): np.array([each["psnr"][given] for each in results])
             for place, results in trained.items() for given in (place[0], CLEAN)}  # fmt: skip
    places = list(work.benches[0].selections)
    found = {("found", *place): float(np.mean([each["adapters"][index][1] for each in sizes]))
             for index, place in enumerate(places)}  # fmt: skip
    again = {(RETRAINED, *place): float(np.mean([each["bytes"] for each in results]))
             for place, results in trained.items()}  # fmt: skip
    checkpoints = {"found": float(np.mean([each["checkpoint"] for each in sizes]))}
    if trained:
        every = [each["checkpoint"] for results in trained.values() for each in results]
        checkpoints[RETRAINED] = float(np.mean(every))
    return Adapted(
        name=name,
        kinds=laboratory.common.degradations,
        percents=sorted({*settings.percents, *settings.retrained}),
        psnr=psnr,
        references={(what, given): values for (what, _, _, given), values in references.items()},
        filters={place: sizes[0]["adapters"][index][0] for index, place in enumerate(places)},
        sizes=found | again,
        checkpoints=checkpoints,
        resamples=laboratory.common.resamples,
    )


class _Study:
    """The work on one pair, shared by all processes in the same order."""

    def __init__(self, laboratory: Laboratory, settings: AdapterSettings, name: str) -> None:
        self.laboratory, self.settings = laboratory, settings
        self.judging = evenly(laboratory.judging(name), settings.judge_images)
        self.benches = [self._bench(model) for model in laboratory.targets(name)]
        self._states = laboratory.folder / "adapters"

    def sizes(self) -> list[dict[str, Any]]:
        """Return the file sizes of every target model."""
        return self.laboratory.pieces.of(
            "adapter-files", self.benches, _identity, Bench.sizes, title=lambda bench: bench.model.pair.name
        )

    def rows(self) -> list[list[list[dict[str, Any]]]]:
        """Return target model → image → rows of :meth:`Bench.judged`."""
        laboratory = self.laboratory
        items = [(bench, sample) for bench in self.benches for sample in self.judging]
        found = laboratory.pieces.of(
            "adapters",
            items,
            lambda item: [_identity(item[0]), item[1].fingerprint(), self._judged_how],
            lambda item: item[0].judged(
                item[1], laboratory.inputs, seed=laboratory.common.seed, precision=laboratory.judge_precision
            ),
            title=lambda item: f"{item[0].model.pair.name}, {item[1].name}",
        )
        count = len(self.judging)
        return [found[start : start + count] for start in range(0, len(found), count)]

    def trained(self) -> dict[Place, list[dict[str, Any]]]:
        """Re-train the places that are asked for; one result per target model."""
        places = [
            (kind, percent) for kind in self.laboratory.common.degradations for percent in self.settings.retrained
        ]
        items = [Training(bench, place) for place in places for bench in self.benches]
        found = self.laboratory.pieces.of(
            "adapters-retrained",
            items,
            self._training_identity,
            self._trained,
            title=lambda item: f"{item.place[0]}, {item.place[1]:g} %, seed {item.bench.model.seed}",
        )
        for item in items:
            self._state(item).unlink(missing_ok=True)  # only now: the results are on disk
        each = len(self.benches)
        return {place: found[index * each : (index + 1) * each] for index, place in enumerate(places)}

    def _bench(self, model: TargetModel) -> Bench:
        laboratory, settings = self.laboratory, self.settings
        found = laboratory.attribute(model, [settings.method], laboratory.finding)[settings.method]
        shares = sorted({*settings.percents, *settings.retrained})
        places = [(kind, percent) for kind in laboratory.common.degradations for percent in shares]
        return Bench(model, {place: found.select(*place) for place in places})

    def _trained(self, item: Training) -> dict[str, Any]:
        """Re-train, write the adapter to a file, put it on the baseline, and judge that."""
        pair, laboratory = item.bench.model.pair, self.laboratory
        selection = item.bench.selections[item.place]
        result = retrain(
            pair,
            SelectedFilters(selection),
            self._training_settings(item),
            self._images,
            state=self._state(item),
            precision=laboratory.fast_precision,
            progress=laboratory.progress,
        )
        baseline = pair.network(pair.baseline)
        again = ModelPair(baseline, pair.network(result.parameters), scale=pair.scale)
        file = filed(Adapter.of(again, [selection]))
        vector = flat(pair, adapt(baseline, [(file.adapter, 1.0)]))
        return {
            "psnr": {given: self._psnr(pair, vector, given) for given in (item.place[0], CLEAN)},
            "bytes": file.bytes,
            "checkpoint": checkpoint_bytes(pair, result.parameters),
        }

    def _psnr(self, pair: ModelPair, vector: Tensor, given: str) -> list[float]:
        laboratory = self.laboratory
        degradation, seed = laboratory.inputs[given], laboratory.common.seed
        return [
            psnr_of(pair, [vector], sample, degradation, seed=seed, precision=laboratory.judge_precision)[0]
            for sample in self.judging
        ]

    def _training_settings(self, item: Training) -> RetrainSettings:
        settings = self.settings
        return settings_for(
            item.place[0],
            iterations=settings.iterations,
            learning_rate=settings.learning_rate,
            warmup=settings.iterations // WARM_UP,
            batch=settings.batch,
            patch=settings.patch,
            seed=item.bench.model.seed,
        )

    def _training_identity(self, item: Training) -> Any:
        return [
            item.bench.model.identity,
            digest(item.bench.selections[item.place].indices.sort().values.tolist()),
            self._training_settings(item).model_dump(mode="json"),
            [sample.fingerprint() for sample in self._training_samples],
            self.laboratory.fast_precision,
            [sample.fingerprint() for sample in self.judging],
            self._judged_how,
        ]

    def _state(self, item: Training) -> Path:
        return self._states / f"{digest(self._training_identity(item))}.state.pt"

    @cached_property
    def _judged_how(self) -> Any:
        laboratory = self.laboratory
        inputs = {name: str(degradation) for name, degradation in laboratory.inputs.items()}
        return [inputs, laboratory.judge_precision, laboratory.common.seed]

    @cached_property
    def _training_samples(self) -> list[Sample]:
        every = [sample for wanted in self.laboratory.common.train for sample in self.laboratory.samples(wanted)]
        return evenly(every, self.settings.train_images)

    @cached_property
    def _images(self) -> list[Tensor]:
        return [sample.read() for sample in self._training_samples]


def _identity(bench: Bench) -> Any:
    chosen = [[*place, digest(each.indices.sort().values.tolist())] for place, each in bench.selections.items()]
    return [bench.model.identity, chosen]


def _tables(
    rows: Sequence[Sequence[Sequence[Mapping[str, Any]]]], wanted: Any
) -> dict[tuple[str, str, float, str], Array]:
    """Turn target model → image → rows into key → ``(target models, images)``."""
    found: dict[tuple[str, str, float, str], Array] = {}
    for key in _keys(row for row in rows[0][0] if wanted(row)):
        found[key] = np.array([[_value(image, key) for image in model] for model in rows], dtype=np.float64)
    return found


def _keys(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, float, str]]:
    return [(row["what"], row["kind"], row["percent"], row["input"]) for row in rows]


def _value(rows: Sequence[Mapping[str, Any]], key: tuple[str, str, float, str]) -> float:
    return next(float(row["psnr"]) for row in rows if _keys([row]) == [key])
