# SPDX-License-Identifier: Apache-2.0
"""Measure adapters as users have them: written to a file, weighed, read back, applied to a base, and judged."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import Field, field_validator
from safetensors.torch import save
from torch import Tensor, nn

from filterlens.data.samples import Sample
from filterlens.editing.adapt import adapt
from filterlens.editing.adapter import Adapter
from filterlens.editing.retrain import retrain
from filterlens.editing.retrain_settings import RetrainSettings, settings_for
from filterlens.editing.trained_part import SelectedFilters
from filterlens.evaluation.statistics import Array, Estimate, over_seeds, two_level_mean, two_level_ratio
from filterlens.filters import Selection
from filterlens.metrics import psnr
from filterlens.pair import ModelPair
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.settings import Percent, Positive, Settings
from filterlens.work.store import digest

ADDED, REMOVED, RETRAINED = "added", "removed", "retrained"
CLEAN = "clean"
WARM_UP = 20  # the first 1/20 of the steps

Place = tuple[str, float]  # a degradation, and the share of the filters in percent


class AdapterSettings(Settings):
    """Settings of the adapters.

    Attributes:
        pairs: At most so many of the common pairs, the first ones.
        percents: Shares of the filters that an adapter for one degradation holds; 1 is among them.
        method: The method that finds the filters.
        retrained: Shares for which the filters are also re-trained in the baseline; may be none.
        iterations: Steps of every re-training.
        learning_rate: Peak rate of every re-training.
        batch: Patches a step.
        patch: Side of the HR patches in pixels.
        train_images: Train on at most so many of the training images, spread evenly.
        judge_images: Judge on at most so many images, spread evenly over the set.
    """

    pairs: Positive | None = None
    percents: Annotated[tuple[Percent, ...], Field(min_length=1)] = (0.5, 1.0, 3.0, 5.0, 10.0)
    method: str = "faig"
    retrained: tuple[Percent, ...] = (1.0,)
    iterations: Positive = 1000
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-2
    batch: Positive = 16
    patch: Annotated[int, Field(ge=8)] = 64
    train_images: Positive | None = 100
    judge_images: Positive | None = None

    @field_validator("percents")
    @classmethod
    def _one_percent_is_there(cls, percents: tuple[float, ...]) -> tuple[float, ...]:
        if 1 not in percents:
            raise ValueError("1 must be among the percents: the claims are about 1 % of the filters")
        return percents


class Network(NamedTuple):
    """A network that is judged: an end of the pair, or one with an adapter.

    Attributes:
        what: ``baseline`` and ``target``; ``added``: the baseline with an adapter at 1; ``removed``: the target with
            it at 0; ``retrained``: the baseline with a re-trained adapter.
        kind: Degradation that the adapter is for; empty for the ends.
        percent: Share of the filters in the adapter.
    """

    what: str
    kind: str = ""
    percent: float = 0.0


BASELINE, TARGET = Network("baseline"), Network("target")


@dataclass(frozen=True, eq=False)
class Adapted:
    """Everything measured of one pair.

    Attributes:
        name: Name of the pair.
        kinds: Degradations that have adapters.
        percents: Shares of the filters, ascending.
        psnr: (network, input) → ``(target models, images)`` in dB; adapters on their own degradation and clean inputs.
        filters: Degradation and percent → filters in the file.
        sizes: ``added`` or ``retrained`` network → bytes of its file, the mean over target models.
        checkpoints: ``added`` and ``retrained`` → bytes of the weights that the adapter stands for.
        resamples: Draws of every bootstrap.
    """

    name: str
    kinds: Sequence[str]
    percents: Sequence[float]
    psnr: Mapping[tuple[Network, str], Array]
    filters: Mapping[Place, int]
    sizes: Mapping[Network, float]
    checkpoints: Mapping[str, float]
    resamples: int = 2000

    def has(self, network: Network) -> bool:
        """Return whether that adapter was made."""
        return (network, network.kind) in self.psnr

    def quality(self, network: Network, given: str) -> Estimate:
        """Return the PSNR of a network on an input; ± sd over target models."""
        return over_seeds(self.psnr[network, given].mean(1))

    def gain(self, network: Network) -> Estimate:
        """Return by how many dB a network is above the baseline on its degradation, image by image."""
        difference = self.psnr[network, network.kind] - self.psnr[BASELINE, network.kind]
        return two_level_mean(difference, resamples=self.resamples)

    def way(self, network: Network) -> Estimate | None:
        """Return how far a network stands between baseline (0) and target (1), in dB summed over all images.

        None where the target is no better than the baseline.
        """
        target, baseline = (self.psnr[end, network.kind] for end in (TARGET, BASELINE))
        if (target.mean(1) <= baseline.mean(1)).any():
            return None
        return two_level_ratio(target - self.psnr[network, network.kind], target - baseline, resamples=self.resamples)

    def share(self, network: Network) -> float:
        """Return the size of an adapter's file over that of the checkpoint that it stands for."""
        return self.sizes[network] / self.checkpoints[network.what]


def measure(laboratory: Laboratory, settings: AdapterSettings, name: str) -> Adapted:
    """Make, weigh and judge all adapters of one pair."""
    judging = laboratory.judging(name, settings.judge_images)
    benches = [_bench(laboratory, settings, model) for model in laboratory.targets(name)]
    weighed = laboratory.store.compute(
        "adapter-files", benches, lambda bench: bench.identity, Bench.sizes, title=lambda bench: bench.model.pair.name
    )
    psnr, trained = _judged(laboratory, benches, judging), _retrained(laboratory, settings, benches, judging)
    psnr |= {
        (network, given): np.array([each["psnr"] for each in results])[:, :, number]
        for network, results in trained.items()
        for number, given in enumerate((network.kind, CLEAN))
    }
    sizes = {
        Network(ADDED, *place): float(np.mean([each["bytes"][index] for each in weighed]))
        for index, place in enumerate(benches[0].selections)
    }
    sizes |= {network: float(np.mean([each["bytes"] for each in results])) for network, results in trained.items()}
    checkpoints = {ADDED: float(np.mean([each["checkpoint"] for each in weighed]))}
    if trained:
        every = [each["checkpoint"] for results in trained.values() for each in results]
        checkpoints[RETRAINED] = float(np.mean(every))
    return Adapted(
        name=name,
        kinds=laboratory.common.degradations,
        percents=sorted({*settings.percents, *settings.retrained}),
        psnr=psnr,
        filters=dict(zip(benches[0].selections, weighed[0]["filters"], strict=True)),
        sizes=sizes,
        checkpoints=checkpoints,
        resamples=laboratory.common.resamples,
    )


@dataclass(eq=False)
class Bench:
    """One target model with the adapters that are tried on it.

    Attributes:
        model: Baseline and target.
        selections: Degradation and share → filters.
    """

    model: TargetModel
    selections: Mapping[Place, Selection]

    @property
    def identity(self) -> Any:
        """Everything that decides the files."""
        return [self.model.identity, [[*place, each.fingerprint()] for place, each in self.selections.items()]]

    @cached_property
    def files(self) -> dict[Place, tuple[Adapter, int]]:
        """Every adapter as it is read from its file, and the bytes of the file."""
        pair = self.model.pair
        return {place: filed(Adapter.of(pair, [selection])) for place, selection in self.selections.items()}

    def sizes(self) -> dict[str, Any]:
        """Return the bytes of the target's weights, and filters and bytes of every adapter in the order of places."""
        pair, files = self.model.pair, self.files.values()
        return {
            "checkpoint": checkpoint_bytes(pair, pair.target),
            "filters": [len(adapter) for adapter, _ in files],
            "bytes": [size for _, size in files],
        }

    def tried(self, inputs: Sequence[str]) -> list[tuple[Network, str]]:
        """Return which network is judged on which input: adapters on their own degradation and on clean inputs."""
        adapted = [Network(what, *place) for place in self.selections for what in (ADDED, REMOVED)]
        return [
            (network, given)
            for given in inputs
            for network in (BASELINE, TARGET, *adapted)
            if given in (network.kind or given, CLEAN)
        ]

    @cached_property
    def vectors(self) -> dict[Network, Tensor]:
        """The parameters of every network that is judged."""
        pair = self.model.pair
        baseline, target = (pair.network(vector) for vector in (pair.baseline, pair.target))
        found = {BASELINE: pair.baseline, TARGET: pair.target}
        for place, (adapter, _) in self.files.items():
            found[Network(ADDED, *place)] = flat(pair, adapt(baseline, [(adapter, 1.0)]))
            found[Network(REMOVED, *place)] = flat(pair, adapt(target, [(adapter, 0.0)]))
        return found

    def judged(self, laboratory: Laboratory, sample: Sample) -> list[float]:
        """Return the PSNR on one image of everything that is :meth:`tried`."""
        tried = [(self.vectors[network], given) for network, given in self.tried(list(laboratory.inputs))]
        return psnr_of(laboratory, self.model.pair, sample, tried)


@dataclass(frozen=True, eq=False)
class Training:
    """The filters of one place, re-trained in the baseline of one target model.

    Attributes:
        laboratory: Keeps the state from which a killed training goes on.
        bench: The target model and its filters.
        place: Degradation and share of the filters that are trained.
        settings: Settings of the training.
        samples: Training images.
        judging: Images on which the adapter is judged.
    """

    laboratory: Laboratory
    bench: Bench
    place: Place
    settings: RetrainSettings
    samples: Sequence[Sample]
    judging: Sequence[Sample]

    @cached_property
    def identity(self) -> Any:
        """Everything that decides the result."""
        return [
            self.bench.model.identity,
            self.bench.selections[self.place].fingerprint(),
            self.settings.model_dump(mode="json"),
            [sample.fingerprint() for sample in self.samples],
            self.laboratory.fast_precision,
            [sample.fingerprint() for sample in self.judging],
            _conditions(self.laboratory),
        ]

    @property
    def state(self) -> Path:
        """File of the unfinished training."""
        return self.laboratory.folder / "adapters" / f"{digest(self.identity)}.state.pt"

    def result(self, images: Sequence[Tensor]) -> dict[str, Any]:
        """Re-train, write the adapter to a file, put it on the baseline, and judge that."""
        pair, laboratory = self.bench.model.pair, self.laboratory
        selection = self.bench.selections[self.place]
        result = retrain(
            pair,
            SelectedFilters(selection),
            self.settings,
            images,
            state=self.state,
            precision=laboratory.fast_precision,
            progress=laboratory.progress,
        )
        baseline = pair.network(pair.baseline)
        again = ModelPair(baseline, pair.network(result.parameters), scale=pair.scale)
        adapter, size = filed(Adapter.of(again, [selection]))
        vector = flat(pair, adapt(baseline, [(adapter, 1.0)]))
        tried = [(vector, given) for given in (self.place[0], CLEAN)]
        return {
            "psnr": [psnr_of(laboratory, pair, sample, tried) for sample in self.judging],
            "bytes": size,
            "checkpoint": checkpoint_bytes(pair, result.parameters),
        }


def _bench(laboratory: Laboratory, settings: AdapterSettings, model: TargetModel) -> Bench:
    found = laboratory.attribute(model, [settings.method], laboratory.finding)[settings.method]
    shares = sorted({*settings.percents, *settings.retrained})
    places = [(kind, percent) for kind in laboratory.common.degradations for percent in shares]
    return Bench(model, {place: found.select(*place) for place in places})


def _judged(
    laboratory: Laboratory, benches: Sequence[Bench], judging: Sequence[Sample]
) -> dict[tuple[Network, str], Array]:
    tried = benches[0].tried(list(laboratory.inputs))
    found = laboratory.measured(
        "adapters",
        benches,
        judging,
        lambda bench: [bench.identity, _conditions(laboratory)],
        lambda bench, sample: {"psnr": bench.judged(laboratory, sample)},
        title=lambda bench: bench.model.title,
    )
    return {key: found["psnr"][:, :, number] for number, key in enumerate(tried)}


def _retrained(
    laboratory: Laboratory, settings: AdapterSettings, benches: Sequence[Bench], judging: Sequence[Sample]
) -> dict[Network, list[dict[str, Any]]]:
    """Re-train the places that are asked for; one result per target model."""
    if not settings.retrained:
        return {}
    samples = laboratory.training_samples(settings.train_images)
    images = cache(lambda: [sample.read() for sample in samples])
    places = [(kind, percent) for kind in laboratory.common.degradations for percent in settings.retrained]

    def training(place: Place, bench: Bench) -> Training:
        how = settings_for(
            place[0],
            iterations=settings.iterations,
            learning_rate=settings.learning_rate,
            warmup=settings.iterations // WARM_UP,
            batch=settings.batch,
            patch=settings.patch,
            seed=bench.model.seed,
        )
        return Training(laboratory, bench, place, how, samples, judging)

    trainings = [training(place, bench) for place in places for bench in benches]
    found = laboratory.store.compute(
        "adapters-retrained",
        trainings,
        lambda training: training.identity,
        lambda training: training.result(images()),
        title=lambda training: f"{training.place[0]}, {training.place[1]:g} %, seed {training.bench.model.seed}",
    )
    for each in trainings:
        each.state.unlink(missing_ok=True)  # only now: the results are on disk
    count = len(benches)
    return {
        Network(RETRAINED, *place): found[number * count : (number + 1) * count] for number, place in enumerate(places)
    }


def _conditions(laboratory: Laboratory) -> Any:
    """Return everything that decides a PSNR, except network and image."""
    inputs = {name: str(degradation) for name, degradation in laboratory.inputs.items()}
    return [inputs, laboratory.judge_precision, laboratory.common.seed]


def filed(adapter: Adapter) -> tuple[Adapter, int]:
    """Write an adapter to a file, read it back, and count the file's bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter.safetensors"
        adapter.save(path)
        return Adapter.load(path), path.stat().st_size


def checkpoint_bytes(pair: ModelPair, vector: Tensor) -> int:
    """Return the size of a network's weights as safetensors, in half precision where that loses nothing."""
    weights = {name: value.cpu().contiguous() for name, value in pair.unflatten(vector).items()}
    halves = {name: value.half() for name, value in weights.items()}
    lossless = all(torch.equal(halves[name].to(value.dtype), value) for name, value in weights.items())
    return len(save({name: value.clone() for name, value in (halves if lossless else weights).items()}))


def flat(pair: ModelPair, network: nn.Module) -> Tensor:
    """Return a network's parameters as the pair's flat vector."""
    return pair.flatten({name: value.detach() for name, value in network.named_parameters()}).to(pair.target)


@torch.no_grad()
def psnr_of(
    laboratory: Laboratory, pair: ModelPair, sample: Sample, tried: Sequence[tuple[Tensor, str]]
) -> list[float]:
    """Return the PSNR on one image of networks, given as flat vectors, each with the input that it restores, in dB."""
    truth = sample.truth(pair.scale).to(pair.device, pair.dtype)
    lowered = {
        given: laboratory.inputs[given].apply(truth, pair.scale, seed=laboratory.common.seed)
        for given in {given for _, given in tried}
    }
    return [
        float(psnr(pair.run(vector, lowered[given], laboratory.judge_precision), truth, crop=pair.scale))
        for vector, given in tried
    ]
