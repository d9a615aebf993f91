# SPDX-License-Identifier: Apache-2.0
"""What the server keeps for one open page."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from filterlens.jobs.studio.explanation import Explanation
from filterlens.jobs.studio.scene import Handling, Scene


@dataclass(eq=False)
class Session:
    """One visitor's page.

    Attributes:
        uploads: How many pictures were sent; numbers the latest.
        upload: Name and pixels ``(3, H, W)`` of the latest one.
        key: What ``scene`` was made of.
        scene: What the network was last given.
        input: Address of its picture.
        shown: The controls whose picture was last finished.
        explained: The scene that ``explanation`` is about.
        explanation: What it has, and why; None where nothing can be said.
        trouble: Why nothing can be said.
        adapters: For which share of the filters adapters lie ready.
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

    def want(self, moment: float, values: Sequence[Any]) -> None:
        """Note what the page shows now; ``moment`` is the page's own clock, as requests may overtake each other."""
        if moment >= self._latest[0]:
            self._latest = moment, tuple(values)

    def is_outdated(self, moment: float, values: Sequence[Any]) -> bool:
        """Say whether the page has asked for something else since."""
        return self._latest[0] > moment and self._latest[1] != tuple(values)
