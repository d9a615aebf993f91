# SPDX-License-Identifier: Apache-2.0
"""Names of LQ files next to names of GT files: templates as BasicSR's, and every image that has no partner."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filterlens.data.listing import shown
from filterlens.errors import FilterlensError, UsageError, quoted

SCENE, ANY = "{}", "*"
_SPLIT = re.compile(r"\{\}|\*")
SHOWN = 8  # names in one error


@dataclass(frozen=True)
class Template:
    """How files are named after their scene, without suffix.

    Attributes:
        text: ``{}`` stands for the scene, as in ``{}x4``; a ``*`` for anything, so that a scene may have several files.

    Raises:
        UsageError: The scene is missing or there twice, or the text is a path.
    """

    text: str = SCENE

    def __post_init__(self) -> None:
        if self.text.count(SCENE) != 1 or self.text.count(ANY) > 1 or "/" in self.text:
            raise UsageError(
                f"template = '{quoted(self.text)}' is not legal: {SCENE} once, with text around it, such as "
                f"'{SCENE}x4' or, for several LQ images of one scene, '{SCENE}_{ANY}'."
            )

    @property
    def is_many(self) -> bool:
        """Whether a scene may have several files."""
        return ANY in self.text

    def scenes(self, name: str) -> list[str]:
        """Return the possible scenes of a file's name, the longest first; none where it does not fit."""
        head, middle, tail = _SPLIT.split(self.text) if self.is_many else (*self.text.split(SCENE), "")
        if not self.is_many:
            fits = name.startswith(head) and name.endswith(middle) and len(name) > len(head) + len(middle)
            return [name[len(head) : len(name) - len(middle)]] if fits else []
        if not name.startswith(head) or not name.endswith(tail) or len(name) < len(head) + len(tail):
            return []
        inner = name[len(head) : len(name) - len(tail)]
        places = [place for place in range(len(inner) + 1) if inner.startswith(middle, place)]
        is_first = self.text.index(SCENE) < self.text.index(ANY)
        found = (inner[:place] if is_first else inner[place + len(middle) :] for place in places)
        return sorted(filter(None, found), key=len, reverse=True)


def with_template(side: Any, default: Template) -> tuple[Any, Template]:
    """Return the folder of one side, and the template that its path ends with or the default.

    Raises:
        UsageError: The path ends with another template than was given, or the template is not legal.
    """
    if not isinstance(side, str | Path) or SCENE not in Path(side).name or Path(side).exists():
        return side, default
    found = Template(Path(side).name)
    if default not in (Template(), found):
        raise UsageError(f"Two templates of names are given, '{found.text}' and '{default.text}'. Give one.")
    return Path(side).parent, found


def matched(
    what: str,
    lowered: Sequence[str],
    truths: Sequence[str],
    of_lq: Template,
    of_gt: Template,
    *,
    one_folder: bool = False,
) -> list[tuple[str, str, str]]:
    """Find the GT name of every LQ name.

    Args:
        what: Name of the pairs, for errors.
        lowered: Names of the LQ images.
        truths: Names of the GT images.
        of_lq: Template of the LQ names.
        of_gt: Template of the GT names.
        one_folder: Whether both sides are one folder, so that files of the other side are no strangers.

    Returns:
        Name of the pair, LQ name, and GT name, in the order of the LQ names.

    Raises:
        FilterlensError: Names without a partner, each listed, with a template that would fit.
    """
    if one_folder:
        lowered, truths = _of_one_side(lowered, of_lq, of_gt), _of_one_side(truths, of_gt, of_lq)
    of_scene = {scene: name for name in truths for scene in of_gt.scenes(name)[:1]}
    scenes = {name: next((each for each in of_lq.scenes(name) if each in of_scene), None) for name in lowered}
    without_gt = [name for name, scene in scenes.items() if scene is None]
    used = {of_scene[scene] for scene in scenes.values() if scene is not None}
    without_lq = [name for name in truths if name not in used]
    if without_gt or without_lq:
        both = " and ".join(filter(None, (_without(without_gt, "LQ", "GT"), _without(without_lq, "GT", "LQ"))))
        raise FilterlensError(f"Pairs for '{what}' do not match: {both}. {_suggestion(lowered, truths)}")
    return [
        (name if of_lq.is_many else scene, name, of_scene[scene]) for name, scene in scenes.items() if scene is not None
    ]


def _of_one_side(names: Iterable[str], own: Template, other: Template) -> list[str]:
    return [name for name in names if own.scenes(name) or not other.scenes(name)]


def _without(names: Sequence[str], side: str, other: str) -> str:
    return f"{side} without {other}: {listed(names)}" if names else ""


def listed(names: Sequence[str]) -> str:
    """Return the first names and how many there are."""
    first = ", ".join(f"'{shown(name)}'" for name in names[:SHOWN])
    return f"{first}, … ({len(names)} in all)" if len(names) > SHOWN else first


def _suggestion(lowered: Sequence[str], truths: Sequence[str]) -> str:
    """Name the template that fits all names, if there is one; it is not taken without being asked for."""
    known = set(truths)
    for template in _candidates(lowered[:1], truths):
        scenes = [next((each for each in template.scenes(name) if each in known), None) for name in lowered]
        if None not in scenes and set(scenes) == known:
            return f"All LQ names fit the template '{template.text}': give the folder of LQ as FOLDER/{template.text}."
    return "Add the missing images, leave their partners out, or give a template of their names, such as LQ/{}x4."


def _candidates(first: Sequence[str], truths: Sequence[str]) -> Iterator[Template]:
    """Yield templates that make the first LQ name of a GT name."""
    for name in first:
        around = sorted({tuple(name.split(scene, 1)) for scene in truths if scene in name and scene != name}, key=str)
        plain = [(before, after) for before, after in around if not re.search(r"[*{}/]", before + after)]
        yield from (Template(f"{before}{SCENE}{after}") for before, after in plain)
        yield from (
            Template(f"{before}{SCENE}{after[0]}{ANY}") for before, after in plain if after and not after[0].isalnum()
        )
