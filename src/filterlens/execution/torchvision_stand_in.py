# SPDX-License-Identifier: Apache-2.0
"""A stand-in for torchvision, which others import needlessly, where torchvision is absent or broken.

spandrel imports three names of ``torchvision.transforms.functional`` and calls one; torchmetrics imports several where
torchvision is installed, for metrics that filterlens does not use. A torchvision that was built for another PyTorch is
common: pip installs one along with spandrel.
"""

import contextlib
import enum
import importlib
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

_NAMES = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
_UNUSED = ("torchvision.ops", "torchvision.models")


def import_beside_torchvision(name: str) -> ModuleType:
    """Import a module that imports torchvision where that is installed, even if it is broken."""
    if name in sys.modules or find_spec(_NAMES[0]) is None:
        return importlib.import_module(name)
    with torchvision_or_stand_in():
        return importlib.import_module(name)


@contextlib.contextmanager
def torchvision_or_stand_in() -> Iterator[None]:
    """Let ``torchvision.transforms.functional`` be imported inside the block, if need be from here.

    Afterwards other programs find torchvision as it was: absent or broken.
    """
    before = _torchvision_modules()
    try:
        importlib.import_module(_NAMES[-1])
    except Exception:  # of whatever kind: a build for another PyTorch fails in its own way
        _forget(before)
    else:
        yield
        return
    sys.modules.update(_stand_in())
    try:
        yield
    finally:
        _forget(before)


def _torchvision_modules() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == _NAMES[0]}


def _forget(before: dict[str, ModuleType]) -> None:
    for name in _torchvision_modules():
        del sys.modules[name]
    sys.modules.update(before)


def _stand_in() -> dict[str, ModuleType]:
    package, transforms, functional = (ModuleType(name) for name in _NAMES)
    contents: dict[str, Any] = {"InterpolationMode": _InterpolationMode, "normalize": _normalize, "rotate": _not_here}
    vars(functional).update(contents)
    vars(transforms)["functional"], vars(package)["transforms"] = functional, transforms
    unused = {name: _Unused(name) for name in _UNUSED}
    vars(package).update({name.rpartition(".")[2]: module for name, module in unused.items()})
    return dict(zip(_NAMES, (package, transforms, functional), strict=True)) | unused


class _Unused(ModuleType):
    """Has every name, for those who import it; none can be called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _not_here


class _InterpolationMode(enum.Enum):
    NEAREST, BILINEAR, BICUBIC = "nearest", "bilinear", "bicubic"


def _normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    centre, width = (torch.tensor(each, dtype=images.dtype, device=images.device) for each in (mean, std))
    return (images - centre.view(-1, 1, 1)) / width.view(-1, 1, 1)


def _not_here(*_: object, **__: object) -> Tensor:
    raise NotImplementedError("this needs torchvision, which cannot be imported here")
