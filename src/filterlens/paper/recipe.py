# SPDX-License-Identifier: Apache-2.0
"""Recipes for all pages of results: the common settings and one section per experiment, from a TOML file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filterlens.errors import UsageError, unknown
from filterlens.paper.catalogue import EXPERIMENTS
from filterlens.paper.settings import Common, ImageChoice
from filterlens.settings import Settings, read_recipe


@dataclass(frozen=True)
class PaperRecipe:
    """All settings that decide the numbers of the pages.

    Attributes:
        name: Name of the recipe.
        common: Settings that all experiments share.
        own: Experiment → its own settings.
    """

    name: str
    common: Common
    own: Mapping[str, Settings]


def load_recipe(name: str, **changes: Any) -> PaperRecipe:
    """Read a shipped recipe by name, or a TOML file by path; ``changes`` that are not None replace common settings.

    Raises:
        UsageError: Unknown recipe or setting (with the nearest legal name), or an illegal value.
        FilterlensError: The file cannot be read or is not TOML.
    """
    sections = read_recipe(name, "paper")
    for section in sections:
        if section != "common" and section not in EXPERIMENTS:
            raise UsageError(f"Recipe '{name}': {unknown('section', section, ['common', *EXPERIMENTS])}")
    common = dict(sections.get("common", {})) | {key: value for key, value in changes.items() if value is not None}
    return PaperRecipe(
        Path(name).stem,
        Common.of(common, f"Recipe '{name}', section 'common'"),
        {
            each.name: each.settings.of(sections.get(each.name, {}), f"Recipe '{name}', section '{each.name}'")
            for each in EXPERIMENTS.values()
        },
    )


def with_folders(
    recipe: PaperRecipe, find: Path | None = None, judge: Path | None = None, train: Sequence[Path] | None = None
) -> PaperRecipe:
    """Return the recipe with the user's folders in place of its image sets; squares and counts stay."""
    common = recipe.common
    changes: dict[str, Any] = {}
    if find is not None:
        changes["find"] = _in_folder(common.find, find)
    if judge is not None:
        changes["judge"] = {name: _in_folder(wanted, judge) for name, wanted in common.judge.items()}
    if train:
        changes["train"] = tuple(ImageChoice(set=str(folder)) for folder in train)
    return replace(recipe, common=common.model_copy(update=changes))


def _in_folder(wanted: ImageChoice, folder: Path) -> ImageChoice:
    return wanted.model_copy(update={"set": str(folder), "only": ()})
