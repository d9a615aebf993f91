# SPDX-License-Identifier: Apache-2.0
"""What every attribution method shares: the pair, the conditions, and one call."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from filterlens.arguments import real_number, seed_number
from filterlens.attribution.protocol import protocol_named
from filterlens.attribution.result import Attribution
from filterlens.attribution.units import InOrder, Runner
from filterlens.data.samples import Images, Sample
from filterlens.degradations import Degradation
from filterlens.degradations.pipeline import Degradations
from filterlens.execution.hardware import resolve_precision
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress

IN_ORDER = InOrder()


class Method(ABC):
    """A way to score every filter of a pair for each degradation.

    Args:
        pair: Baseline and target.
        protocol: ``default`` or ``reference``; see :class:`filterlens.attribution.protocol.Protocol`.
        precision: ``auto`` (bfloat16 where the hardware is good at it and one image shows that it does not change the
            ranking), ``fp32`` or ``bf16``.
        seed: Decides the noise of degraded inputs and the random methods.
        memory: GiB that activations may take; None takes what the device can spare. Larger images go in exact tiles.

    Raises:
        UsageError: An unknown protocol or precision, a negative seed, or no memory.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    def __init__(
        self,
        pair: ModelPair,
        *,
        protocol: str = "default",
        precision: str = "auto",
        seed: int = 0,
        memory: float | None = None,
    ) -> None:
        self.pair = pair
        self.protocol = protocol_named(protocol)
        self.seed = seed_number(seed)
        chosen = self.protocol.precision if precision == "auto" and self.protocol.precision else precision
        resolved = resolve_precision(chosen, pair.device)
        # float64 pairs compute in their own type
        self.precision = resolved if pair.dtype.itemsize == 4 else "fp32"
        self.may_fall_back = chosen == "auto" and self.precision != "fp32"
        self.memory = None if memory is None else real_number(memory, "memory in GiB", above=0)

    @abstractmethod
    def attribute(
        self,
        images: Images,
        degradations: Degradations,
        *,
        progress: Progress = SILENT,
        runner: Runner = IN_ORDER,
    ) -> Attribution:
        """Score every filter for each degradation.

        Args:
            images: HR images: a folder, paths, or RGB tensors (uint8, or float in [0, 1]).
            degradations: What to find filters for, for example ``["blur:2", "noise:0.1"]``.
            progress: Where the bar goes.
            runner: Who computes; by default this process, one image after the other.

        Returns:
            Scores ``(filters,)`` per degradation, with settings and completeness.
        """

    def truth_of(self, sample: Sample) -> Tensor:
        """Return the HR image ``(1, 3, H, W)`` as this method sees it, on the pair's device."""
        multiple = math.lcm(self.pair.scale, self.protocol.multiple)
        return sample.truth(multiple).to(self.pair.device, self.pair.dtype)

    def degraded(self, truth: Tensor, degradation: Degradation) -> Tensor:
        """Return the LR input of one degradation."""
        return degradation.apply(truth, self.pair.scale, seed=self.seed, resampler=self.protocol.resampler)

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return what decided the scores, for the record."""
        shared = {"protocol": self.protocol.name, "resampler": self.protocol.resampler}
        return shared | {"precision": self.precision, "seed": self.seed} | more
