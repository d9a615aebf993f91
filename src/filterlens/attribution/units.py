# SPDX-License-Identifier: Apache-2.0
"""Units of work, an image with one degradation each, and who computes them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from filterlens.ahead import ahead
from filterlens.attribution.result import Completeness
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.errors import FilterlensError
from filterlens.progress import Bar, Progress

POINTS = 100  # of a progress bar, per unit


@dataclass(frozen=True)
class Unit:
    """One image with one degradation."""

    sample: Sample
    degradation: Degradation

    @property
    def title(self) -> str:
        """What progress bars call it."""
        return f"{self.sample.name}, {self.degradation}"


@dataclass(frozen=True, eq=False)
class Measurement:
    """What a unit contributes to the scores.

    Attributes:
        magnitudes: Per filter, ``(filters,)`` float64 on the CPU.
        completeness: How exact it is, for integrals on the parameter path.
    """

    magnitudes: Tensor
    completeness: Completeness | None = None


class Job(Protocol):
    """An attribution method, as seen by who runs its units."""

    name: ClassVar[str]

    def settings(self) -> dict[str, Any]:
        """Return everything that decides a measurement besides the unit."""
        ...

    def prepare(self, unit: Unit) -> tuple[Tensor, ...]:
        """Read and degrade, which may happen ahead of time."""
        ...

    def measure(self, unit: Unit, prepared: tuple[Tensor, ...], step: Callable[[], None]) -> Measurement:
        """Compute; ``step`` is called after every pass."""
        ...

    @property
    def passes(self) -> int:
        """How many passes a unit usually takes."""
        ...


class Runner(Protocol):
    """Who computes the units: this process alone, or many that share a folder."""

    def agree(self, question: str, answer: Callable[[], str]) -> str:
        """Return one answer for all processes; it is computed once."""
        ...

    def measurements(self, job: Job, units: Sequence[Unit], progress: Progress) -> Iterator[Measurement]:
        """Yield one measurement per unit, in the order of the units."""
        ...


class InOrder:
    """This process alone, one unit after the other, nothing on disk. The default in Python."""

    def agree(self, question: str, answer: Callable[[], str]) -> str:
        """Return the answer."""
        return answer()

    def measurements(self, job: Job, units: Sequence[Unit], progress: Progress) -> Iterator[Measurement]:
        """Yield one measurement per unit, in the order of the units."""
        with progress.bar(job.name, len(units) * POINTS) as bar:
            for unit, tensors in prepared(units, job.prepare):
                yield measured(job, unit, tensors, bar)


def measured(job: Job, unit: Unit, tensors: tuple[Tensor, ...], bar: Bar) -> Measurement:
    """Compute one unit, moving the bar by :data:`POINTS` in all."""
    bar.describe(f"{job.name}, {unit.title}")
    shown = 0

    def step() -> None:
        nonlocal shown
        points = min(POINTS // job.passes, POINTS - shown)  # a unit may take more passes than usual
        shown += points
        bar.advance(points)

    try:
        result = job.measure(unit, tensors, step)
    except FilterlensError as error:
        raise type(error)(f"Image '{unit.sample.name}' with '{unit.degradation}': {error}") from error
    if not result.magnitudes.isfinite().all():
        raise FilterlensError(
            f"Image '{unit.sample.name}' with '{unit.degradation}': the scores are not finite, as the network "
            "overflows between baseline and target. Try --precision fp32, and check that the two belong together."
        )
    bar.advance(POINTS - shown)
    return result


def prepared(units: Iterable[Unit], prepare: Callable[[Unit], tuple[Tensor, ...]]) -> Iterator[tuple[Unit, Any]]:
    """Yield units with what was prepared for them; with a GPU the next one is prepared while this one is computed.

    On a CPU nothing is prepared ahead: a second thread would only take cores from the first.
    """
    if torch.cuda.is_available():
        return ahead(units, partial(_named, prepare))
    return ((unit, _named(prepare, unit)) for unit in units)


def _named(prepare: Callable[[Unit], tuple[Tensor, ...]], unit: Unit) -> tuple[Tensor, ...]:
    """Prepare a unit; an error says of which image."""
    try:
        return prepare(unit)
    except FilterlensError as error:
        if f"'{unit.sample.name}'" in str(error):
            raise
        raise type(error)(f"Image '{unit.sample.name}' with '{unit.degradation}': {error}") from error
