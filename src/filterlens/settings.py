# SPDX-License-Identifier: Apache-2.0
"""Settings as values: one frozen class declares each setting with its meaning, legal values and default.

A subclass of :class:`Settings` has typed fields with defaults and a docstring with a section "Attributes". From these
come the checks, Python's keywords, the part of a JSON record (``model_dump``), the JSON schema
(:mod:`filterlens.jobs.schemas`) and, through :class:`filterlens.cli.options.SettingsCommand`, the options of a command.
"""

import inspect
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from filterlens.errors import FilterlensError, UsageError, first_line, unknown

SHOWN = 80  # characters of a value that an error quotes
LARGEST_RECIPE = 1 << 20  # bytes


def _number(value: Any) -> Any:
    """Refuse what pydantic would read as a number: ``true`` as 1, and text."""
    if isinstance(value, bool | str | bytes):
        raise ValueError("a number is expected")
    return value


Whole = Annotated[int, BeforeValidator(_number)]
Real = Annotated[float, BeforeValidator(_number)]
Positive = Annotated[Whole, Field(ge=1)]
Seed = Annotated[Whole, Field(ge=0, lt=2**63)]
Fraction = Annotated[Real, Field(ge=0, lt=1)]
Share = Annotated[Real, Field(gt=0, lt=1)]
Percent = Annotated[Real, Field(gt=0, le=100)]


@dataclass(frozen=True)
class Shown:
    """How a command shows a setting, where that does not follow from its name and default; in a field's ``Annotated``.

    Attributes:
        default: Default as help shows it, for example ``"half of what is free, at most 4"`` for None.
        option: Name of the option, for example ``"--percent"`` for ``percents``.
    """

    default: str
    option: str = ""


class Settings(BaseModel):
    """Base of all settings: unknown names are refused, and values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def of(cls, given: Mapping[str, Any], what: str = "") -> Self:
        """Check settings that a user gave.

        Args:
            given: Name → value; names that are missing keep their defaults.
            what: Source of the settings, for the error, for example ``"Recipe 'cpu'"``.

        Raises:
            UsageError: An unknown name (with the nearest legal one), or a value that is not legal.
        """
        try:
            return cls.model_validate(dict(given))
        except ValidationError as error:
            mistake = first_mistake(error, cls)
        except RecursionError:
            mistake = "a setting is nested too deeply."
        raise UsageError(f"{what}: {mistake}" if what else mistake)


def shipped_recipes(room: str) -> list[str]:
    """Return the names of the recipes inside a room of the package, ``training`` or ``paper``."""
    folder = resources.files(f"filterlens.{room}") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def read_recipe(name: str | Path, room: str) -> dict[str, Any]:
    """Read a shipped recipe of a room by name, or a TOML file by path; nothing in it is checked yet.

    Raises:
        UsageError: No recipe has that name.
        FilterlensError: The file cannot be read, is no ordinary file of modest size, or no TOML.
    """
    path = Path(name)
    if path.suffix == ".toml":
        text = _text_of(path)
    elif str(name) in shipped_recipes(room):
        text = (resources.files(f"filterlens.{room}") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    else:
        wrong = unknown("recipe", short(str(name)), shipped_recipes(room))
        raise UsageError(f"{wrong} Or give a path to a .toml file.")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise FilterlensError(f"Recipe '{name}' is not valid TOML: it is nested too deeply.") from None
    except ValueError as error:  # also of a number with thousands of digits
        raise FilterlensError(f"Recipe '{name}' is not valid TOML: {first_line(error)}.") from error


def first_mistake(error: ValidationError, model: type[BaseModel]) -> str:
    """Say which setting is wrong, its value and what is legal; unknown names come first."""
    first = min(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
    place = short(".".join(str(part) for part in first["loc"]))
    if first["type"] == "extra_forbidden":
        *path, name = first["loc"]
        wrong = str(unknown("setting", short(str(name)), _section(model, path).model_fields))
        return f"{short('.'.join(map(str, path)))}: {wrong}" if path else wrong
    if first["type"] == "missing":
        return f"{place} is missing."
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        return str(unknown(place, short(first["input"]), re.findall(r"'([^']*)'", first["ctx"]["expected"])))
    message = first["msg"].removeprefix("Value error, ")
    return f"{place} = {shown(first.get('input'))}: {short(message)}."


def shown(value: Any) -> str:
    """Quote a value of a setting, shortened, whatever it is."""
    if isinstance(value, int) and value.bit_length() > 256:  # Python refuses to write numbers of thousands of digits
        return f"a number of {value.bit_length()} bits"
    try:
        return short(repr(value))
    except (ValueError, RecursionError):
        return f"a {type(value).__name__}"


def meanings_of(model: type[BaseModel]) -> tuple[str, dict[str, str]]:
    """Return what the Google docstrings of a model and its bases say: its first paragraph, and field → meaning."""
    bases = [each for each in reversed(model.__mro__) if issubclass(each, BaseModel) and each is not BaseModel]
    texts = [inspect.cleandoc(each.__doc__ or "") for each in bases]
    meanings: dict[str, str] = {}
    for text in texts:
        section = re.search(r"^Attributes:\n((?: {4}.*\n?|\n)+)", text, re.MULTILINE)
        entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section[1] if section else "", re.MULTILINE)
        meanings |= {name: _one_line(meaning) for name, meaning in entries}
    return _one_line(texts[-1].split("\n\n")[0]), meanings


def short(text: str) -> str:
    """Return the beginning of a long text, as errors quote it."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _text_of(path: Path) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise FilterlensError(f"Recipe '{path}' is no file. Give a path to a .toml file.")
        if status.st_size > LARGEST_RECIPE:
            raise FilterlensError(
                f"Recipe '{path}' has {status.st_size} bytes: no recipe is larger than {LARGEST_RECIPE}."
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise FilterlensError(f"Cannot read recipe '{path}': {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise FilterlensError(f"Recipe '{path}' is not text in UTF-8 ({error}).") from error


def _section(model: type[BaseModel], path: list[int | str]) -> type[BaseModel]:
    """Return the class of the section at a path of names, keys and numbers."""
    for name in path:
        if name in model.model_fields:
            inside = _models(model.model_fields[str(name)].annotation)
            model = next(inside, model)
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _one_line(text: str) -> str:
    return " ".join(text.split())
