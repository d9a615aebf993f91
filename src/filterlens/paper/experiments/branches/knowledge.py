# SPDX-License-Identifier: Apache-2.0
"""Tests of the degradation branches: whether DAN finds the blur kernel, and DASR's features separate degradations.

DAN's code is set against the true kernel's, the delta kernel's and the best constant. DASR's features are read by a
linear probe, fitted on some images and asked about others, next to two controls.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterlens.arguments import written
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.degradations.ranges import BlurRange, NoiseRange, parse_range
from filterlens.evaluation.statistics import Array, Estimate, two_level_mean, two_level_ratio
from filterlens.models.architectures import build
from filterlens.models.checkpoints import load_network
from filterlens.models.dan import DAN
from filterlens.models.dasr import DASR
from filterlens.models.initialisation import start_near_identity
from filterlens.paper.experiment import is_above
from filterlens.paper.images import squares
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.peers.arms import Setting

DELTA, CONSTANT = "delta", "constant"  # what DAN's code is set against
TRAINED, BASELINE, UNTRAINED = "trained", "baseline", "untrained"  # DASR's encoders
DRAWN = 4096  # kernels of the training, for the best constant answer
DECAY = 1e-3  # of the probe's weights, on features of unit variance
BATCH = 16
UNTRAINED_SEED = 1000


@dataclass(frozen=True, eq=False)
class Codes:
    """Distances of kernel codes to the true ones in one setting: L1, mean over the numbers of a code.

    Attributes:
        setting: The setting; its tests with a blur are asked.
        tests: Names of those tests.
        estimated: Distances of DAN's code after the last loop, ``(seeds, tests, images)``.
        starts: Distances of other codes, ``(seeds, tests)``: ``delta``, where DAN starts; ``constant``, the best answer
            that looks at no image, the median of the training's codes.
        resamples: Draws of every bootstrap.
    """

    setting: Setting
    tests: tuple[str, ...]
    estimated: Array
    starts: Mapping[str, Array]
    resamples: int = 2000

    def distance(self, test: str) -> Estimate:
        """Return the distance of DAN's code."""
        return two_level_mean(self._of(test)[0], resamples=self.resamples)

    def way(self, test: str, start: str) -> Estimate:
        """Return the share of the way from ``delta`` or ``constant`` to the truth: 1 is there, below 0 is farther."""
        return two_level_ratio(*self._of(test, start), resamples=self.resamples)

    def nearer(self, test: str, start: str) -> Estimate:
        """Return how much nearer DAN's code is than ``delta`` or ``constant``; above 0 is nearer."""
        estimated, given = self._of(test, start)
        return two_level_mean(given - estimated, resamples=self.resamples)

    @property
    def knows(self) -> bool:
        """Whether the estimator knows more of the kernel than a constant answer, over all tests."""
        gains = self.starts[CONSTANT][:, :, None] - self.estimated
        return is_above(two_level_mean(gains.mean(1), resamples=self.resamples))

    def _of(self, test: str, start: str = DELTA) -> tuple[Array, Array]:
        """Return the distances of DAN's code and of another one, each ``(seeds, images)``."""
        place = self.tests.index(test)
        estimated = self.estimated[:, place]
        return estimated, np.broadcast_to(self.starts[start][:, place, None], estimated.shape)


def kernel_codes(
    laboratory: Laboratory, setting: Setting, models: Sequence[TargetModel], samples: Sequence[Sample]
) -> Codes:
    """Measure the codes of all target models of DAN in a setting, on all images."""
    tests = tuple(test for test in setting.tests if Degradation.parse(test).blur is not None)
    trained_on = [text for text, _ in setting.degradations]
    prints = [sample.fingerprint() for sample in samples]
    results = laboratory.store.compute(
        "branches-codes",
        models,
        lambda model: [model.identity, tests, trained_on, prints, laboratory.common.seed],
        lambda model: _code_distances(laboratory, model, tests, trained_on, samples),
        title=lambda model: model.pair.name,
    )
    stacked = {name: np.array([result[name] for result in results]) for name in results[0]}
    return Codes(setting, tests, stacked.pop("estimated"), stacked, laboratory.common.resamples)


@torch.no_grad()
def _code_distances(
    laboratory: Laboratory,
    model: TargetModel,
    tests: Sequence[str],
    trained_on: Sequence[str],
    samples: Sequence[Sample],
) -> dict[str, Any]:
    network = cast(DAN, model.pair.network(model.pair.target))
    constant = constant_code(network, trained_on)
    found: dict[str, Any] = {"estimated": [], DELTA: [], CONSTANT: []}
    for test in tests:
        wanted = network.encode(true_kernel(test, network.kernel)[None].to(network.basis))
        codes = []
        for sample in samples:
            truth = sample.truth(network.scale).to(wanted.device)
            lowered = Degradation.parse(test).apply(truth, network.scale, seed=laboratory.common.seed)
            codes.append(network.unroll(lowered).codes[-1])
        found["estimated"].append([_l1(code, wanted) for code in codes])
        found[DELTA].append(_l1(network.initial_code, wanted))
        found[CONSTANT].append(_l1(constant, wanted))
    return found


def true_kernel(test: str, width: int) -> Tensor:
    """Return the blur kernel of a written degradation, ``(width, width)``; it is padded with zeros."""
    blur = Degradation.parse(test).blur
    kernel = torch.ones(1, 1) if blur is None else blur.weights()
    missing = (width - len(kernel)) // 2
    return F.pad(kernel, (missing, missing, missing, missing))


def constant_code(network: DAN, trained_on: Sequence[str]) -> Tensor:
    """Return the code ``(1, code)`` nearest to those of the training in L1: the median of every number."""
    ranges = [found for text in trained_on if isinstance(found := parse_range(text), BlurRange)]
    kernels = ranges[0].draw(DRAWN, torch.Generator().manual_seed(0))
    return network.encode(kernels.to(network.basis)).median(0, keepdim=True).values


def _l1(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().mean())


@dataclass(frozen=True)
class Question:
    """What a probe is asked.

    Attributes:
        name: ``blur kernel`` or ``noise level``.
        classes: Written degradations, one of which is the answer; they differ in what is asked for alone.
    """

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Probed:
    """How well a linear probe answers a question from an encoder's features, in one setting.

    Attributes:
        setting: The setting of the trained encoders.
        question: The question.
        right: Encoder (``trained``, ``baseline``, ``untrained``) → share of right answers, ``(seeds, images)``.
        resamples: Draws of every bootstrap.
    """

    setting: Setting
    question: Question
    right: Mapping[str, Array]
    resamples: int = 2000

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return 1 / len(self.question.classes)

    def accuracy(self, encoder: str) -> Estimate:
        """Return the share of right answers."""
        return two_level_mean(self.right[encoder], resamples=self.resamples)

    def gain(self, over: str) -> Estimate:
        """Return what the trained encoder has over another one, paired over images and seeds."""
        return two_level_mean(self.right[TRAINED] - self.right[over], resamples=self.resamples)

    @property
    def knows(self) -> bool:
        """Whether the trained encoder answers better than by chance, and than the one of random weights."""
        return is_above(self.accuracy(TRAINED), self.chance) and is_above(self.gain(UNTRAINED))


def questions_of(setting: Setting) -> list[Question]:
    """Return what is asked in a setting: which test kernel, and where it has noise, how much of it on one kernel."""
    questions = [Question("blur kernel", setting.tests)]
    noise = [found for text, _ in setting.degradations if isinstance(found := parse_range(text), NoiseRange)]
    if noise:
        kernel = str(Degradation(blur=Degradation.parse(setting.tests[len(setting.tests) // 2]).blur))
        levels = [written(round(noise[0].sigma[1] * third / 3, 4)) for third in (1, 2, 3)]
        questions.append(Question("noise level", (kernel, *(f"{kernel}+noise:{level}" for level in levels))))
    return questions


def probed(
    laboratory: Laboratory,
    setting: Setting,
    question: Question,
    models: Sequence[TargetModel],
    fit_on: Sequence[Sample],
    ask_on: Sequence[Sample],
    *,
    patch: int,
    count: int,
) -> Probed:
    """Fit a probe on squares of some images and ask it about squares of others, for every encoder.

    Args:
        laboratory: Keeps the pieces.
        setting: Setting of the encoders.
        question: The question.
        models: DASR's target models, one per seed.
        fit_on: Images on which the probe is fitted.
        ask_on: Images on which it is asked.
        patch: Side of the squares in HR pixels.
        count: Squares per image.
    """
    classes = question.classes
    encoders = [(kind, encoder) for model in models for kind, encoder in encoders_of(model).items()]
    prints = [[sample.fingerprint() for sample in each] for each in (fit_on, ask_on)]
    fixed = [classes, prints, patch, count, laboratory.common.seed, laboratory.common.peers.scale, DECAY]

    def compute(item: tuple[str, nn.Module]) -> list[float]:
        encoder = item[1].to(laboratory.device)
        known, wanted = (
            _features(laboratory, encoder, classes, images, patch, count) for images in (fit_on, ask_on)
        )  # each (images, classes, squares, dimension)
        labels = torch.arange(len(classes)).view(1, -1, 1).expand(known.shape[:3])
        probe = fit(known.flatten(0, 2), labels.flatten())
        right = probe.answer(wanted.flatten(0, 2)).view(wanted.shape[:3]) == labels[:1]
        return [float(each) for each in right.double().mean((1, 2))]

    results = laboratory.store.compute(
        "branches-probe",
        encoders,
        lambda item: [*fixed, _hash(item[1])],
        compute,
        title=lambda item: f"{question.name} of {setting.name}, {item[0]} encoder",
    )
    kinds = [kind for kind, _ in encoders]
    right = {kind: np.array(results)[[each == kind for each in kinds]] for kind in kinds}
    return Probed(setting, question, right, laboratory.common.resamples)


def encoders_of(model: TargetModel) -> dict[str, nn.Module]:
    """Return the trained encoder, that of the baseline with its own running statistics, and one as trainings begin."""
    facts = model.pair.facts
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED + model.seed)
        untrained = build("dasr", **facts["options"])
    start_near_identity(untrained)
    networks = {
        TRAINED: model.pair.network(model.pair.target),
        BASELINE: load_network(facts["baseline"]["path"]).network,
        UNTRAINED: untrained,
    }
    return {kind: cast(DASR, network).encoder.eval() for kind, network in networks.items()}


@torch.no_grad()
def _features(
    laboratory: Laboratory, encoder: nn.Module, classes: Sequence[str], images: Sequence[Sample], patch: int, count: int
) -> Tensor:
    """Return the representations ``(images, classes, squares, dimension)`` on the CPU."""
    scale, seed = laboratory.common.peers.scale, laboratory.common.seed
    rows = []
    for image in images:
        truth = torch.cat([square.truth(scale) for square in squares(image, patch, count)]).to(laboratory.device)
        lowered = torch.cat([Degradation.parse(text).apply(truth, scale, seed=seed) for text in classes])
        seen = torch.cat([encoder(each) for each in torch.split(lowered, BATCH)])
        rows.append(seen.view(len(classes), len(truth), -1).cpu())
    return torch.stack(rows)


def _hash(encoder: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class LinearProbe:
    """Multinomial logistic regression on standardised features: ``argmax (x − mean) / spread · weights + bias``."""

    mean: Tensor
    spread: Tensor
    weights: Tensor
    bias: Tensor

    def answer(self, features: Tensor) -> Tensor:
        """Return the class of every row ``(N, dimension)``."""
        return (((features.double() - self.mean) / self.spread) @ self.weights + self.bias).argmax(1)


def fit(features: Tensor, labels: Tensor) -> LinearProbe:
    """Fit a linear probe in float64: cross entropy plus ``DECAY / 2 · ‖weights‖²``, convex, by L-BFGS.

    Args:
        features: ``(N, dimension)``.
        labels: ``(N,)``, classes from 0.
    """
    known = features.double()
    mean, spread = known.mean(0), known.std(0).clamp_min(1e-12)
    x = (known - mean) / spread
    weights = torch.zeros(x.shape[1], int(labels.max()) + 1, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(weights.shape[1], dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([weights, bias], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = F.cross_entropy(x @ weights + bias, labels) + DECAY / 2 * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        search.step(loss)  # type: ignore[no-untyped-call]
    return LinearProbe(mean, spread, weights.detach(), bias.detach())
