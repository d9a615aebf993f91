# SPDX-License-Identifier: Apache-2.0
"""JSON schemas of the settings files, with which editors complete, explain and check them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, create_model
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import ModelSchema

from filterlens.errors import unknown
from filterlens.files import write_json
from filterlens.settings import Settings, meanings_of

_PAPER_DOC = """The common settings, and one section for each experiment whose settings differ from their defaults.

Attributes:
    common: Settings that all experiments share.
"""


@dataclass(frozen=True)
class SettingsFile:
    """A kind of TOML file that a user may write.

    Attributes:
        title: Description with the command that reads it.
        model: Function that returns the pydantic model for its check; called late, since some models import much.
    """

    title: str
    model: Callable[[], type[BaseModel]]


class _WithMeanings(GenerateJsonSchema):
    """Takes the description of every setting from the section "Attributes" of its model's docstring."""

    def model_schema(self, schema: ModelSchema) -> dict[str, Any]:
        written = super().model_schema(schema)
        summary, meanings = meanings_of(schema["cls"])
        if summary:
            written["description"] = summary
        for name, meaning in meanings.items():
            if name in written.get("properties", {}):
                written["properties"][name]["description"] = meaning
        return written


def schema_of(name: str) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a settings file.

    Args:
        name: ``train`` or ``paper``, as the command that reads it.

    Raises:
        UsageError: No settings file has that name.
    """
    if name not in SETTINGS_FILES:
        raise unknown("settings file", name, SETTINGS_FILES)
    file = SETTINGS_FILES[name]
    schema = file.model().model_json_schema(schema_generator=_WithMeanings)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": file.title}


def write_schemas(folder: Path, names: list[str]) -> list[Path]:
    """Write ``NAME.schema.json`` for every name and return the paths.

    Raises:
        UsageError: No settings file has that name; then nothing is written.
    """
    schemas = {folder / f"{name}.schema.json": schema_of(name) for name in names}
    for path, schema in schemas.items():
        write_json(path, schema)
    return list(schemas)


def _training_recipe() -> type[BaseModel]:
    from filterlens.training.recipe import Recipe

    return Recipe


def _paper_recipe() -> type[BaseModel]:
    """Join the common settings and the section of every experiment, as :mod:`filterlens.paper.recipe` reads them."""
    from filterlens.paper.catalogue import EXPERIMENTS
    from filterlens.paper.settings import Common

    sections: dict[str, Any] = {
        name.replace("-", "_"): (each.settings, Field(default=None, alias=name, description=each.summary))
        for name, each in EXPERIMENTS.items()
    }
    recipe: type[BaseModel] = create_model(
        "PaperRecipe",
        __base__=Settings,
        __doc__=_PAPER_DOC,
        common=(Common, ...),
        **sections,
    )
    return recipe


SETTINGS_FILES: Mapping[str, SettingsFile] = {
    "train": SettingsFile("Recipe of a training (filterlens train --recipe FILE)", _training_recipe),
    "paper": SettingsFile("Recipe of the experiments (filterlens paper --recipe FILE)", _paper_recipe),
}
