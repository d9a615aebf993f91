# SPDX-License-Identifier: Apache-2.0
"""PSNR of every trained network on every test degradation of its setting, and of bicubic upsampling, as pieces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.metrics import CHANNELS, psnr
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.peers.arms import Setting

Array = npt.NDArray[np.float64]
PRECISION = "fp32"
Quality = dict[str, Array]  # channel → (images, tests) in dB


@dataclass(frozen=True, eq=False)
class Restorer:
    """Something that restores images, to be judged in a setting.

    Attributes:
        name: For bars.
        identity: What decides its output.
        restore: LR ``(1, 3, H, W)`` → HR.
        setting: On whose tests it is judged.
    """

    name: str
    identity: str
    restore: Callable[[Tensor], Tensor]
    setting: Setting


def of_model(model: TargetModel, setting: Setting) -> Restorer:
    """Return the target network of a model, in float32: bfloat16 would round more where no skip carries the image."""

    def restore(lowered: Tensor) -> Tensor:
        return model.pair.run(model.pair.target, lowered, PRECISION)

    return Restorer(model.pair.name, f"{model.identity}, {PRECISION}", restore, setting)


def bicubic(setting: Setting, scale: int) -> Restorer:
    """Return cubic convolution with a = -0.5, as MATLAB enlarges."""

    def restore(lowered: Tensor) -> Tensor:
        return F.interpolate(lowered, scale_factor=scale, mode="bicubic", antialias=True)

    return Restorer(f"bicubic, {setting.name}", f"bicubic x{scale}", restore, setting)


def judge(laboratory: Laboratory, restorers: Sequence[Restorer], samples: Sequence[Sample]) -> list[Quality]:
    """Return the PSNR of every restorer: 8-bit values, ``scale`` border pixels cropped, in Y and in RGB."""
    scale, seed = laboratory.common.peers.scale, laboratory.common.seed
    prints = [sample.fingerprint() for sample in samples]

    def identity(restorer: Restorer) -> Any:
        return [restorer.identity, restorer.setting.tests, prints, scale, seed]

    def compute(restorer: Restorer) -> dict[str, list[list[float]]]:
        tests = [Degradation.parse(test) for test in restorer.setting.tests]
        found: dict[str, list[list[float]]] = {channel: [] for channel in CHANNELS}
        for sample in samples:
            truth = sample.truth(scale).to(laboratory.device)
            restored = [_restored(restorer, test, truth, scale, seed) for test in tests]
            for channel in CHANNELS:
                found[channel].append([float(psnr(each, truth, crop=scale, channel=channel)) for each in restored])
        return found

    results = laboratory.pieces.of("branches", restorers, identity, compute, title=lambda restorer: restorer.name)
    return [{channel: np.array(result[channel]) for channel in CHANNELS} for result in results]


@torch.no_grad()
def _restored(restorer: Restorer, test: Degradation, truth: Tensor, scale: int, seed: int) -> Tensor:
    return restorer.restore(test.apply(truth, scale, seed=seed))
