# SPDX-License-Identifier: Apache-2.0
"""One visitor's page: its choices as values instead of a list of component contents, and its kept results."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from filterlens.app.scene import NO_JPEG, Handling, Scene
from filterlens.app.studio import Explanation
from filterlens.data.photographs import PHOTOGRAPHS
from filterlens.degradations import Degradation
from filterlens.degradations.blur import GaussianBlur
from filterlens.degradations.noise import GaussianNoise
from filterlens.errors import UsageError, unknown
from filterlens.report.labels import is_written

UPLOAD = "upload:"
_SENT = re.compile(rf"{UPLOAD}[0-9]{{1,9}}")
MOST_BLUR, MOST_NOISE, LEAST_QUALITY = 4.0, 0.2, 5


@dataclass(frozen=True)
class Controls:
    """All controls of the page.

    Attributes:
        source: Name of a photograph, or ``upload:N``.
        handling: Processing before the network sees it.
        percent: Share of the filters that belong to each function.
        strengths: Degradation → λ.
    """

    source: str
    handling: Handling
    percent: float
    strengths: Mapping[str, float]

    @classmethod
    def of(cls, values: Sequence[Any], degradations: Sequence[str]) -> "Controls":
        """Read the contents of the components, in their order on the page.

        Raises:
            UsageError: They are none that the page can have: calls could be forged.
        """
        if len(values) != 6 + len(degradations):
            raise UsageError(f"The page has {6 + len(degradations)} controls, not {len(values)}.")
        source, lowered, *numbers = values
        if not isinstance(source, str) or (source not in PHOTOGRAPHS and not _SENT.fullmatch(source)):
            raise unknown("photograph", str(source)[:40], PHOTOGRAPHS)
        if not isinstance(lowered, bool) or not all(map(_is_number, numbers)):
            raise UsageError("A control of the page has a value that is no number.")
        blur, noise, quality, percent, *strengths = numbers
        _check_range("blur", blur, 0, MOST_BLUR)
        _check_range("noise", noise, 0, MOST_NOISE)
        _check_range("JPEG quality", quality, LEAST_QUALITY, NO_JPEG)
        handling = Handling(True) if lowered else Handling(False, float(blur), float(noise), int(quality))
        return cls(source, handling, float(percent), dict(zip(degradations, map(float, strengths), strict=True)))

    @property
    def scene(self) -> tuple[str, Handling]:
        """What decides the network's input; the rest decides the network."""
        return self.source, self.handling


@dataclass(eq=False)
class Session:
    """The state that the server keeps for one open page.

    Attributes:
        uploads: Number of uploaded pictures, which numbers the latest.
        upload: Name and pixels ``(3, H, W)`` of the latest one.
        key: Choices of which ``scene`` was made.
        scene: Latest input of the network.
        input: Address of its picture.
        shown: The controls whose picture was last finished.
        explained: Scene that ``explanation`` is about.
        explanation: Its degradations, with reasons; None where there is no verdict.
        trouble: Reason why there is no verdict.
        adapters: Share of the filters for which adapters are ready.
        inputs: Pictures of inputs on disk, the latest last.
        results: And of results.
    """

    uploads: int = 0
    upload: tuple[str, Tensor] | None = None
    key: tuple[str, Handling] | None = None
    scene: Scene | None = None
    input: str = ""
    shown: tuple[Any, ...] = ()
    explained: Scene | None = None
    explanation: Explanation | None = None
    trouble: str = ""
    adapters: float | None = None
    inputs: list[Path] = field(default_factory=list)
    results: list[Path] = field(default_factory=list)
    _latest: tuple[float, tuple[Any, ...]] = (0.0, ())

    @property
    def pictures(self) -> list[Path]:
        """All pictures of the page on disk."""
        return [*self.inputs, *self.results]

    def want(self, moment: float, values: Sequence[Any]) -> None:
        """Note what the page shows now; ``moment`` is the page's own clock, as requests may overtake each other."""
        if moment >= self._latest[0]:
            self._latest = moment, tuple(values)

    def is_outdated(self, moment: float, values: Sequence[Any]) -> bool:
        """Say whether the page has asked for something else since."""
        return self._latest[0] > moment and self._latest[1] != tuple(values)


def first_handling(degradations: Sequence[str]) -> Handling:
    """Return what the page does to a picture at first: the degradation of the first function that sliders can make.

    Blur with σ = 2 where there is none; nothing where all are pairs or functions of the user's, which no slider makes.
    """
    if degradations and not any(map(is_written, degradations)):
        return Handling()
    for name in degradations:
        try:
            degradation = Degradation.parse(name)
        except UsageError:  # a name that a run gave to pairs or to a function
            continue
        blur, noise, jpeg = degradation.blur, degradation.noise, degradation.jpeg
        if isinstance(blur, GaussianBlur) and blur.is_isotropic and blur.kernel == GaussianBlur(1).kernel:
            return Handling(blur=min(MOST_BLUR, blur.sigma))
        if isinstance(noise, GaussianNoise):
            return Handling(noise=min(MOST_NOISE, noise.sigma))
        if jpeg is not None:
            return Handling(quality=max(LEAST_QUALITY, jpeg.quality))
    return Handling(blur=2.0)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_range(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise UsageError(f"The page's {name} is {least:g} to {most:g}, not {value:g}.")
