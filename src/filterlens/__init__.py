# SPDX-License-Identifier: Apache-2.0
"""filterlens finds the few filters that a restoration network uses for each degradation, and proves it."""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from filterlens.version import __version__

if sys.platform == "darwin":  # what PyTorch lacks on Apple GPUs runs on the CPU; it looks while it is imported
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

if TYPE_CHECKING:
    from filterlens.attribution.change import AbsoluteChange, RelativeChange
    from filterlens.attribution.faig import FAIG
    from filterlens.attribution.goal_directed import GoalDirected
    from filterlens.attribution.input_ig import InputIG
    from filterlens.attribution.objective import SquaredDistance
    from filterlens.attribution.quadrature import Quadrature
    from filterlens.attribution.random import LayerMatchedRandom, MagnitudeMatchedRandom, Random
    from filterlens.attribution.result import Attribution
    from filterlens.attribution.taylor import Taylor
    from filterlens.degradations.pipeline import Degradation
    from filterlens.editing.adapt import adapt
    from filterlens.editing.adapter import Adapter
    from filterlens.editing.dial import modulate, substitute
    from filterlens.errors import FilterlensError, UsageError
    from filterlens.filters import FilterSpace, Selection
    from filterlens.models.checkpoints import load_network
    from filterlens.pair import ModelPair

_PLACES = {
    "FAIG": "attribution.faig",
    "GoalDirected": "attribution.goal_directed",
    "InputIG": "attribution.input_ig",
    "AbsoluteChange": "attribution.change",
    "RelativeChange": "attribution.change",
    "Taylor": "attribution.taylor",
    "Random": "attribution.random",
    "LayerMatchedRandom": "attribution.random",
    "MagnitudeMatchedRandom": "attribution.random",
    "Attribution": "attribution.result",
    "SquaredDistance": "attribution.objective",
    "Quadrature": "attribution.quadrature",
    "Degradation": "degradations.pipeline",
    "FilterSpace": "filters",
    "Selection": "filters",
    "ModelPair": "pair",
    "load_network": "models.checkpoints",
    "Adapter": "editing.adapter",
    "adapt": "editing.adapt",
    "substitute": "editing.dial",
    "modulate": "editing.dial",
    "FilterlensError": "errors",
    "UsageError": "errors",
}

__all__ = [
    "FAIG",
    "AbsoluteChange",
    "Adapter",
    "Attribution",
    "Degradation",
    "FilterSpace",
    "FilterlensError",
    "GoalDirected",
    "InputIG",
    "LayerMatchedRandom",
    "MagnitudeMatchedRandom",
    "ModelPair",
    "Quadrature",
    "Random",
    "RelativeChange",
    "Selection",
    "SquaredDistance",
    "Taylor",
    "UsageError",
    "__version__",
    "adapt",
    "load_network",
    "modulate",
    "substitute",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import filterlens`` costs nothing."""
    if name not in _PLACES:
        raise AttributeError(f"module 'filterlens' has no attribute '{name}'")
    return getattr(import_module(f"filterlens.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
