# SPDX-License-Identifier: Apache-2.0
"""The pretrained pairs inside the package, each network with its card."""

from importlib import resources
from pathlib import Path

from filterlens.errors import unknown

SHARED_BASELINES = {"srresnet-x2-k3": "srresnet-x2"}  # pairs that were fine-tuned from another pair's baseline


def pair_names() -> list[str]:
    """Return the names of the pairs that ship, for example ``srresnet-x2``."""
    folder = Path(str(resources.files(__name__)))
    return sorted(path.name.removesuffix("-target.safetensors") for path in folder.glob("*-target.safetensors"))


def pair_files(name: str) -> tuple[Path, Path]:
    """Return the paths of baseline and target of a shipped pair.

    Raises:
        UsageError: No such pair ships.
    """
    if name not in pair_names():
        raise unknown("pretrained pair", name, pair_names())
    folder = Path(str(resources.files(__name__)))
    baseline = SHARED_BASELINES.get(name, name)
    return folder / f"{baseline}-baseline.safetensors", folder / f"{name}-target.safetensors"


def filters_file(name: str) -> Path:
    """Return the path of a shipped pair's best filters with their calibration (see ``filterlens classify``).

    Raises:
        UsageError: No such pair ships.
    """
    _, target = pair_files(name)
    return target.with_name(f"{name}-filters.safetensors")
