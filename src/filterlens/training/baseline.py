# SPDX-License-Identifier: Apache-2.0
"""An existing network as the baseline of a training."""

from pathlib import Path

from filterlens.errors import UsageError
from filterlens.models.checkpoints import LoadedNetwork
from filterlens.training.recipe import Recipe


def check_baseline(baseline: LoadedNetwork, recipe: Recipe, output: Path) -> None:
    """Check that the target of a recipe can be fine-tuned from a network, into a folder.

    Raises:
        UsageError: Architecture or scale are not those of the recipe, or the file is one that the training writes.
    """
    for setting, found in (("architecture", baseline.architecture), ("scale", baseline.scale)):
        wanted = getattr(recipe, setting)
        if found != wanted:
            raise UsageError(
                f"Baseline '{baseline.path}' has {setting} {found}, recipe '{recipe.name}' has {wanted}. "
                f"Give --{setting} {found}, or another baseline."
            )
    written = [output / f"{role}.safetensors" for role in ("baseline", "target")]
    if baseline.path.resolve() in [path.resolve() for path in written]:
        raise UsageError(f"Baseline '{baseline.path}' is a file that this training would write. Give another --output.")
