# SPDX-License-Identifier: Apache-2.0
"""The required content of a run folder's JSON files. Folders may come from others, so everything is checked."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, RootModel

from filterlens.record import is_inside


class _Facts(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class LayerFacts(_Facts):
    """A layer and its filters."""

    name: str
    out: Annotated[int, Field(ge=1)]
    into: Annotated[int, Field(ge=1, alias="in")]
    filters: Annotated[int, Field(ge=0)]


class CheckpointFacts(_Facts):
    """A checkpoint: where it lay and what it held."""

    path: str
    sha256: str
    card: dict[str, Any] = Field(default_factory=dict)
    weights_sha256: str | None = None
    absolute: str | None = None
    relative: str | None = None


class PairFacts(_Facts):
    """The two networks of a run."""

    name: str | None = None
    architecture: str | None = None
    options: dict[str, Any] | None = None
    scale: Annotated[int, Field(ge=1, le=64)]
    filters: Annotated[int, Field(ge=0)]
    parameters: int | None = None
    linear: str = "rows"
    layers: Annotated[list[LayerFacts], Field(min_length=1)]
    baseline: CheckpointFacts | None = None
    target: CheckpointFacts | None = None


class SettingsFacts(_Facts):
    """The settings that decided the ranking, as far as other commands need them."""

    methods: Annotated[list[str], Field(min_length=1)]
    degradations: Annotated[list[str], Field(min_length=1)]
    seed: int = 0
    protocol: str = "default"
    resampler: str = "bicubic"
    inputs: dict[str, Any] = Field(default_factory=dict)


class ImageFacts(_Facts):
    """An image that was used."""

    name: str
    path: str | None = None
    sha256: str | None = None
    absolute: str | None = None
    relative: str | None = None
    width: int | None = None
    height: int | None = None


class CompletenessFacts(_Facts):
    """How well one integral summed up."""

    method: str | None = None
    image: str | None = None
    degradation: str | None = None
    gap: FiniteFloat | None = None
    nodes: int | None = None
    attributed: FiniteFloat | None = None
    loss_target: FiniteFloat | None = None
    loss_baseline: FiniteFloat | None = None


class JobFacts(_Facts):
    """The facts that every job records of itself."""

    filterlens: str | None = None
    created: str | None = None
    command: list[str] | str | None = None
    versions: dict[str, Any] = Field(default_factory=dict)
    seconds: FiniteFloat | None = None
    images: list[ImageFacts] = Field(default_factory=list)


class PluginFacts(_Facts):
    """A method or a degradation of another package that a job used."""

    group: str
    name: str
    package: str
    version: str


class RunFacts(JobFacts):
    """``run.json``."""

    pair: PairFacts
    settings: SettingsFacts
    completeness: list[CompletenessFacts] = Field(default_factory=list)
    completeness_gap: FiniteFloat | None = None
    plugins: list[PluginFacts] = Field(default_factory=list)
    made_of: str | None = None


class MaskFacts(JobFacts):
    """``mask.json``."""

    metrics: str | dict[str, Any] | None = None
    methods: list[str] = Field(default_factory=list)
    percents: list[FiniteFloat] = Field(default_factory=list)
    held_out: bool | None = None


def _inside(name: str) -> str:
    if not is_inside(name):
        raise ValueError("a picture lies inside its run folder")
    return name


class KeptPicture(_Facts):
    """A picture of the judging: what it shows, for which image and input, and with which filters replaced."""

    image: str
    input: str
    what: str
    masked: str | None = None
    method: str | None = None
    percent: FiniteFloat | None = None
    file: Annotated[str, AfterValidator(_inside)]


class PicturesFacts(RootModel[list[KeptPicture]]):
    """``pictures.json``."""


def is_of_pairs(said: object) -> bool:
    """Whether what a run says of one of its degradations (``settings.inputs``) is that it is known by pairs."""
    return isinstance(said, Mapping) and "pairs" in said
