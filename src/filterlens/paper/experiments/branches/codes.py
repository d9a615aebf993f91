# SPDX-License-Identifier: Apache-2.0
"""Does DAN's estimator find the blur kernel? Its code against the truth, the delta kernel and the best constant."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.degradations.ranges import BlurRange, parse_range
from filterlens.evaluation.statistics import Estimate, two_level_mean, two_level_ratio
from filterlens.models.dan import DAN
from filterlens.paper.experiment import is_above
from filterlens.paper.experiments.branches.judging import Array
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.peers.arms import Setting

DRAWN = 4096  # kernels of the training, for the best constant answer


@dataclass(frozen=True, eq=False)
class Codes:
    """Distances of kernel codes to the true ones in one setting: L1, mean over the numbers of a code.

    Attributes:
        setting: Its tests with a blur.
        tests: Their names.
        estimated: ``(seeds, tests, images, loops)``, after every loop.
        delta: Of the delta kernel's code, where DAN starts, ``(seeds, tests)``.
        constant: Of the best answer that looks at no image, the median of the training's codes, ``(seeds, tests)``.
        resamples: Of bootstraps.
    """

    setting: Setting
    tests: tuple[str, ...]
    estimated: Array
    delta: Array
    constant: Array
    resamples: int = 2000

    def distance(self, test: str) -> Estimate:
        """Return the distance of the last loop's code."""
        return two_level_mean(self._last(test), resamples=self.resamples)

    def way(self, test: str, start: str = "delta") -> Estimate:
        """Return the share of the way from ``delta`` or ``constant`` to the truth: 1 is there, below 0 is farther."""
        last = self._last(test)
        return two_level_ratio(last, np.broadcast_to(self._start(test, start), last.shape), resamples=self.resamples)

    def nearer(self, test: str, start: str = "delta") -> Estimate:
        """Return how much nearer the estimated code is than ``delta`` or ``constant``; above 0 is nearer."""
        return two_level_mean(self._start(test, start) - self._last(test), resamples=self.resamples)

    @property
    def knows(self) -> bool:
        """Whether the estimator knows more of the kernel than a constant answer, over all tests."""
        gains = self.constant[:, :, None] - self.estimated[..., -1]
        return is_above(two_level_mean(gains.mean(1), resamples=self.resamples))

    def _last(self, test: str) -> Array:
        return np.asarray(self.estimated[:, self.tests.index(test), :, -1])

    def _start(self, test: str, start: str) -> Array:
        values: Array = {"delta": self.delta, "constant": self.constant}[start]
        return values[:, self.tests.index(test), None]


def kernel_codes(
    laboratory: Laboratory, setting: Setting, models: Sequence[TargetModel], samples: Sequence[Sample]
) -> Codes:
    """Measure the codes of all target models of DAN in a setting, on all images."""
    tests = tuple(test for test in setting.tests if Degradation.parse(test).blur is not None)
    trained_on = [text for text, _ in setting.degradations]
    prints = [sample.fingerprint() for sample in samples]

    def identity(model: TargetModel) -> Any:
        return [model.identity, tests, trained_on, prints, laboratory.common.seed]

    results = laboratory.pieces.of(
        "branches-codes",
        models,
        identity,
        lambda model: _measured(laboratory, model, tests, trained_on, samples),
        title=lambda model: model.pair.name,
    )
    stacked = {name: np.array([result[name] for result in results]) for name in ("estimated", "delta", "constant")}
    return Codes(setting, tests, **stacked, resamples=laboratory.common.resamples)


@torch.no_grad()
def _measured(
    laboratory: Laboratory,
    model: TargetModel,
    tests: Sequence[str],
    trained_on: Sequence[str],
    samples: Sequence[Sample],
) -> dict[str, Any]:
    network = cast(DAN, model.pair.network(model.pair.target))
    wanted = {test: network.encode(true_kernel(test, network.kernel)[None].to(network.basis)) for test in tests}
    constant = constant_code(network, trained_on)
    return {
        "estimated": [
            [_distances(network, wanted[test], test, sample, laboratory.common.seed) for sample in samples]
            for test in tests
        ],
        "delta": [_l1(network.initial_code, wanted[test]) for test in tests],
        "constant": [_l1(constant, wanted[test]) for test in tests],
    }


def _distances(network: DAN, wanted: Tensor, test: str, sample: Sample, seed: int) -> list[float]:
    truth = sample.truth(network.scale).to(wanted.device)
    lowered = Degradation.parse(test).apply(truth, network.scale, seed=seed)
    return [_l1(code, wanted) for code in network.unroll(lowered).codes]


def true_kernel(test: str, width: int) -> Tensor:
    """Return the blur kernel of a written degradation, ``(width, width)``; it is padded with zeros."""
    blur = Degradation.parse(test).blur
    kernel = torch.ones(1, 1) if blur is None else blur.weights()
    missing = (width - len(kernel)) // 2
    return torch.nn.functional.pad(kernel, (missing, missing, missing, missing))


def constant_code(network: DAN, trained_on: Sequence[str]) -> Tensor:
    """Return the code ``(1, code)`` nearest to those of the training in L1: the median of every number."""
    ranges = [found for text in trained_on if isinstance(found := parse_range(text), BlurRange)]
    kernels = ranges[0].draw(DRAWN, torch.Generator().manual_seed(0))
    return network.encode(kernels.to(network.basis)).median(0, keepdim=True).values


def _l1(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().mean())
