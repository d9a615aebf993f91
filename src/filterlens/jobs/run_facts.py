# SPDX-License-Identifier: Apache-2.0
"""What the JSON files of a run folder must say; whoever reads one checks it here first, as folders come from others."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, RootModel

from filterlens.errors import FilterlensError
from filterlens.files import read_checked
from filterlens.record import is_inside

RUN, MASK, PICTURES = "run.json", "mask.json", "pictures.json"
ATTRIBUTE = "filterlens attribute"
_AGAIN = f"Run `{ATTRIBUTE}` again, into another folder."


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
    """What decided the ranking, as far as other commands go on with it."""

    methods: Annotated[list[str], Field(min_length=1)]
    degradations: Annotated[list[str], Field(min_length=1)]
    seed: int = 0
    protocol: str = "default"
    resampler: str = "bicubic"


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
    """What every job records of itself."""

    filterlens: str | None = None
    created: str | None = None
    command: list[str] | str | None = None
    versions: dict[str, Any] = Field(default_factory=dict)
    seconds: FiniteFloat | None = None
    images: list[ImageFacts] = Field(default_factory=list)


class RunFacts(JobFacts):
    """``run.json``."""

    pair: PairFacts
    settings: SettingsFacts
    completeness: list[CompletenessFacts] = Field(default_factory=list)
    completeness_gap: FiniteFloat | None = None
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


class PictureFacts(_Facts):
    """A picture of the judging."""

    image: str
    input: str
    what: str
    masked: str | None = None
    method: str | None = None
    percent: FiniteFloat | None = None
    file: Annotated[str, AfterValidator(_inside)]


class PicturesFacts(RootModel[list[PictureFacts]]):
    """``pictures.json``."""


def require_run(run: Path) -> dict[str, Any]:
    """Return ``run.json`` of a run folder, checked.

    Raises:
        FilterlensError: It is no run folder, or the file does not say what it must.
    """
    if not (run / RUN).is_file():
        raise FilterlensError(f"'{run}' is no run folder: '{run / RUN}' is missing. `{ATTRIBUTE}` makes one.")
    facts: dict[str, Any] = read_checked(run / RUN, RunFacts, _AGAIN)
    return facts


def mask_facts(run: Path) -> dict[str, Any]:
    """Return ``mask.json`` of a run folder, checked; errors as in :func:`require_run`."""
    facts: dict[str, Any] = read_checked(run / MASK, MaskFacts, f"Run `filterlens mask {run}` again.")
    return facts


def picture_facts(run: Path) -> list[dict[str, Any]]:
    """Return ``pictures.json`` of a run folder, checked: every file lies inside, also when links are followed.

    Raises:
        FilterlensError: As in :func:`require_run`, or a picture lies elsewhere.
    """
    remedy = f"Run `filterlens mask {run}` again."
    entries: list[dict[str, Any]] = read_checked(run / PICTURES, PicturesFacts, remedy)
    home = run.resolve()
    for entry in entries:
        if not (run / entry["file"]).resolve().is_relative_to(home):
            raise FilterlensError(f"'{run / PICTURES}': the picture '{entry['file']}' lies outside the run. {remedy}")
    return entries
