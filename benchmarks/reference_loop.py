# SPDX-License-Identifier: Apache-2.0
"""The reference implementation's attribution loop, written from its published protocol in its simplest form.

Plain PyTorch: for each image and each node α = k/100, counted from the target, the state dict is interpolated and
loaded, and every input goes forward and backward in float32 in the default memory format. The reference does this once
for each of the two rankings. Nothing of filterlens' engine is used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NODES = 100
RANKINGS = 2

Weights = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class LoopSample:
    """One image as the loop takes it.

    Attributes:
        inputs: LR images ``(1, 3, h, w)`` with the one and with the other degradation.
        truth: HR image ``(1, 3, H, W)``.
    """

    inputs: tuple[Tensor, Tensor]
    truth: Tensor


@dataclass(frozen=True, eq=False)
class ReferenceLoop:
    """The loop over the nodes between two state dicts.

    Attributes:
        network: Where the weights are loaded; those that it holds are overwritten.
        baseline: State dict before fine-tuning.
        target: State dict after it.
        nodes: On the path.
    """

    network: nn.Module
    baseline: Mapping[str, Tensor]
    target: Mapping[str, Tensor]
    nodes: int = NODES

    def ranking(self, samples: Sequence[LoopSample]) -> tuple[Tensor, float]:
        """Return what every filter has more for the first input than for the second, and the completeness gap.

        Returns:
            ``(filters,)`` in the order of the state dict, and the largest gap over images and inputs.
        """
        scores, gaps = torch.zeros(()), []
        for sample in samples:
            found = self.attributions(sample)
            own, other = (filter_magnitudes(attribution) for attribution in found)
            scores = scores + (own - other).cpu() / len(samples)
            gaps += [self._gap(*each, sample.truth) for each in zip(found, sample.inputs, strict=True)]
        return scores, max(gaps)

    def attributions(self, sample: LoopSample) -> list[Weights]:
        """Return FAIG of every parameter, one dictionary per input."""
        totals = [self.zeros() for _ in sample.inputs]
        for k in range(self.nodes):
            self.add_node(k, sample, totals)
        return [{name: total[name] * (self.target[name] - self.baseline[name]) for name in total} for total in totals]

    def zeros(self) -> Weights:
        """Return an empty total."""
        return {name: torch.zeros_like(parameter) for name, parameter in self.network.named_parameters()}

    def add_node(self, k: int, sample: LoopSample, totals: Sequence[Weights]) -> None:
        """Add the gradients of node k, divided by the number of nodes, to one total per input."""
        alpha = k / self.nodes
        between = {name: alpha * self.baseline[name] + (1 - alpha) * self.target[name] for name in self.target}
        self.network.load_state_dict(between)
        for lowered, total in zip(sample.inputs, totals, strict=True):
            self.network.zero_grad()
            self._loss(lowered, sample.truth).backward()  # type: ignore[no-untyped-call]
            for name, parameter in self.network.named_parameters():
                if parameter.grad is not None:
                    total[name] += parameter.grad / self.nodes

    def _loss(self, lowered: Tensor, truth: Tensor) -> Tensor:
        return F.mse_loss(self.network(lowered), truth, reduction="sum")

    @torch.no_grad()
    def _gap(self, attribution: Weights, lowered: Tensor, truth: Tensor) -> float:
        ends = []
        for weights in (self.target, self.baseline):
            self.network.load_state_dict(weights)
            ends.append(float(self._loss(lowered, truth)))
        change = ends[0] - ends[1]
        return abs(sum(float(weight.double().sum()) for weight in attribution.values()) - change) / abs(change)


def filter_magnitudes(attribution: Weights) -> Tensor:
    """Sum |FAIG| over the slice of each filter, in the order of the state dict; biases hold no filters."""
    return torch.cat([weight.abs().sum((2, 3)).flatten() for weight in attribution.values() if weight.ndim == 4])
