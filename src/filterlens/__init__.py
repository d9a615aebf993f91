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
    from filterlens.attribution.faig import FAIG, SquaredDistance, Taylor
    from filterlens.attribution.goal_directed import GoalDirected
    from filterlens.attribution.image_free import (
        AbsoluteChange,
        LayerMatchedRandom,
        MagnitudeMatchedRandom,
        Random,
        RelativeChange,
    )
    from filterlens.attribution.input_ig import InputIG
    from filterlens.attribution.quadrature import Quadrature
    from filterlens.attribution.result import Attribution
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
    "AbsoluteChange": "attribution.image_free",
    "RelativeChange": "attribution.image_free",
    "Taylor": "attribution.faig",
    "Random": "attribution.image_free",
    "LayerMatchedRandom": "attribution.image_free",
    "MagnitudeMatchedRandom": "attribution.image_free",
    "Attribution": "attribution.result",
    "SquaredDistance": "attribution.faig",
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
