# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the architectures that spandrel knows: ESRGAN, RCAN, SwinIR, OmniSR, SPAN, Compact, DAT, HAT, etc.

filterlens reads the weights, without running code of a file; spandrel only identifies the network.
"""

import importlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from filterlens.errors import FilterlensError, first_line
from filterlens.execution.torchvision_stand_in import torchvision_or_stand_in
from filterlens.models.any_image import GRAY, RGB, Needs, taking_any_image
from filterlens.models.architectures import Bounded
from filterlens.models.loading import UnfitError, refuse_broken, refuse_other_numbers

PREFIX = "spandrel:"
REMEDY = 'pip install "filterlens[archs]"'


@dataclass(frozen=True)
class Recognised:
    """A network that was built from its weights.

    Attributes:
        network: The network; it takes RGB images of any size.
        architecture: Its name in a card or ``run.json``.
        options: Its options, ``scale`` among them.
    """

    network: nn.Module
    architecture: str
    options: dict[str, Any]


def recognise_foreign(weights: Mapping[str, Tensor], source: str) -> Recognised | None:
    """Build the network that spandrel recognises; None where spandrel knows none that fits.

    Args:
        weights: Name → tensor.
        source: The file, for messages.

    Raises:
        UnfitError: The weights do not fit the network that they look like.
        FilterlensError: spandrel is not installed or broken, or the network maps no RGB image to one.
    """
    descriptor = _described(weights, source)
    if descriptor is None:
        return None
    name = str(descriptor.architecture.id)
    _check_images(descriptor, source, name)
    refuse_broken(weights, source)
    refuse_other_numbers(weights, descriptor.model.state_dict(), source)
    wanted = descriptor.size_requirements
    needs = Needs(
        wanted.multiple_of, max(1, wanted.minimum), wanted.square, descriptor.input_channels, descriptor.output_channels
    )
    call = getattr(descriptor, "_call_fn", None)
    network = taking_any_image(descriptor.model, int(descriptor.scale), needs, call=call)
    return Recognised(network, PREFIX + name, _options(descriptor))


def is_installed() -> bool:
    """Whether spandrel can be looked for."""
    return find_spec("spandrel") is not None


@cache
def spandrel() -> Any:
    """Import spandrel, with or without torchvision.

    Raises:
        FilterlensError: It is broken.
    """
    try:
        with torchvision_or_stand_in(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of code that is neither the user's nor ours
            return importlib.import_module("spandrel")
    except Exception as error:  # a broken installation may fail in any way
        raise FilterlensError(f"spandrel cannot be imported ({_reason(error)}). Try: {REMEDY}") from error


def _described(weights: Mapping[str, Tensor], source: str) -> Any:
    package = spandrel()
    try:
        with warnings.catch_warnings(), Bounded.by(weights.values()):
            warnings.simplefilter("ignore")  # of code that is neither the user's nor ours
            return package.MAIN_REGISTRY.load(dict(weights))
    except package.UnsupportedModelError:
        return None
    except Exception as error:  # a network that is almost the recognised one fails in its own way
        raise UnfitError(
            f"Checkpoint '{source}' looks like an architecture of spandrel but does not fit ({_reason(error)}). "
            "For a network of your own give --architecture package.module:factory.",
            max(1, len(weights) // 2),
        ) from error


def _check_images(descriptor: Any, source: str, name: str) -> None:
    channels = descriptor.input_channels, descriptor.output_channels
    if descriptor.purpose == "Inpainting" or channels not in ((RGB, RGB), (GRAY, GRAY)):
        what = "an image and a mask" if descriptor.purpose == "Inpainting" else f"{channels[0]} channels"
        raise FilterlensError(
            f"Checkpoint '{source}' is {name}, which maps {what} to {channels[1]} channels; "
            "filterlens needs networks from RGB to RGB, or from gray to gray."
        )


def _options(descriptor: Any) -> dict[str, Any]:
    hyperparameters = getattr(descriptor.model, "hyperparameters", {})
    written: dict[str, Any] = json.loads(json.dumps(hyperparameters, default=str))
    return written | {"scale": int(descriptor.scale)}


def _reason(error: Exception) -> str:
    return first_line(error) or type(error).__name__
