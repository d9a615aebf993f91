# SPDX-License-Identifier: Apache-2.0
"""Settings are values: one frozen class says what may be set, and what each setting means, may be and is by default.

A subclass of :class:`Settings` has typed fields with defaults and a docstring with a section "Attributes". From these
come the checks, Python's keywords, the part of a JSON record (``model_dump``), the JSON schema
(:mod:`filterlens.jobs.schemas`) and, through :class:`filterlens.cli.options.SettingsCommand`, the options of a command.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from filterlens.errors import UsageError, unknown

SHOWN = 80  # characters of a value that an error quotes


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
        default: What help says of the default, for example ``"half of what is free, at most 4"`` of None.
        option: Name of the option, for example ``"--percent"`` of ``percents``.
    """

    default: str
    option: str = ""


class Settings(BaseModel):
    """Settings that refuse what they do not know and never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def of(cls, given: Mapping[str, Any], what: str = "") -> Self:
        """Check settings that a user gave.

        Args:
            given: Name → value; names that are missing keep their defaults.
            what: Where they come from, for the error, for example ``"Recipe 'cpu'"``.

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


def first_mistake(error: ValidationError, model: type[BaseModel]) -> str:
    """Say which setting is wrong, what its value is and what is legal; a name that is unknown comes first."""
    first = min(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
    place = _short(".".join(str(part) for part in first["loc"]))
    if first["type"] == "extra_forbidden":
        *path, name = first["loc"]
        wrong = str(unknown("setting", _short(str(name)), _section(model, path).model_fields))
        return f"{_short('.'.join(map(str, path)))}: {wrong}" if path else wrong
    if first["type"] == "missing":
        return f"{place} is missing."
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        return str(unknown(place, _short(first["input"]), re.findall(r"'([^']*)'", first["ctx"]["expected"])))
    message = first["msg"].removeprefix("Value error, ")
    return f"{place} = {shown(first.get('input'))}: {_short(message)}."


def shown(value: Any) -> str:
    """Quote a value of a setting, shortened, whatever it is."""
    if isinstance(value, int) and value.bit_length() > 256:  # Python refuses to write numbers of thousands of digits
        return f"a number of {value.bit_length()} bits"
    try:
        return _short(repr(value))
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


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _one_line(text: str) -> str:
    return " ".join(text.split())
