# SPDX-License-Identifier: Apache-2.0
"""The inputs of a job: images, degradations and pairs as the user gave them, read once, bad images left out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from filterlens.data.pairs import parse_pairs
from filterlens.data.recorded_pairs import RecordedPairs
from filterlens.data.samples import Images, PairedSample, Sample
from filterlens.data.usable import LeftOut, Readable, readable
from filterlens.degradations.given import AnyDegradations, as_degradation
from filterlens.degradations.inputs import Channels, GivenPairs, Inputs, inputs_of, names_of
from filterlens.degradations.pipeline import CLEAN, Degradation
from filterlens.degradations.value import AnyDegradation, Pairs
from filterlens.errors import UsageError, quoted
from filterlens.plugins import DEGRADATIONS, declared
from filterlens.progress import Note, Progress
from filterlens.run.facts import is_of_pairs


@dataclass(frozen=True)
class UsableInputs:
    """The usable inputs of a job.

    Attributes:
        inputs: Degradations and the images of each that were read.
        described: Name, path, hash and size of each image; of pairs also the name of their degradation.
        left_out: Images that cannot be used.
    """

    inputs: Inputs
    described: list[dict[str, Any]]
    left_out: tuple[LeftOut, ...]

    @property
    def record(self) -> dict[str, Any]:
        """What the job's record says of the images that were left out; nothing where there are none."""
        return {"left_out": [asdict(each) for each in self.left_out]} if self.left_out else {}


def usable_inputs(
    images: Images | None,
    degradations: AnyDegradations,
    pairs: GivenPairs | None,
    channels: Channels,
    progress: Progress,
    *,
    strict: bool = False,
    check: Callable[[dict[str, Any]], None] = lambda image: None,
) -> UsableInputs:
    """Read every image once; arguments as for :func:`inputs_of` and :func:`filterlens.data.usable.readable`.

    Raises:
        FilterlensError: An image is bad and ``strict`` is set, or a degradation has no good one.
        UsageError: What is given is not legal.
    """
    given = inputs_of(images, degradations, pairs, channels=channels, note=progress.note)
    read: dict[int, Readable] = {}
    found: dict[str, list[Sample]] = {}
    described: list[dict[str, Any]] = []
    degradations_read = dict(given.degradations)
    for name, samples in given.samples.items():
        of_pairs = isinstance(given.degradations[name], Pairs)
        if id(samples) not in read:
            usable = readable(samples, progress, strict=strict, check=check, channels=channels.returned, y=channels.y)
            read[id(samples)] = usable
            described += [image | ({"degradation": name} if of_pairs else {}) for image in usable.described]
        found[name] = read[id(samples)].samples
        if of_pairs:
            pairs_read = [each for each in found[name] if isinstance(each, PairedSample)]
            origin = RecordedPairs(name, tuple(read[id(samples)].described)).facts()
            origin = {"count": len(pairs_read), "folders": origin["folders"]}
            degradations_read[name] = Pairs(tuple(pairs_read), origin)
    left_out = tuple(each for usable in read.values() for each in usable.left_out)
    return UsableInputs(Inputs(degradations_read, found), described, left_out)


def named_pairs(texts: Sequence[str] | None) -> dict[str, tuple[str, str | None]]:
    """Read pairs as the command line names them, ``rain=LQ_FOLDER,GT_FOLDER``: name → both folders.

    Raises:
        UsageError: A text has another form, or a name comes twice.
    """
    found: dict[str, tuple[str, str | None]] = {}
    for text in texts or ():
        name, lq, gt = parse_pairs(text)
        if name in found:
            raise UsageError(f"Pairs '{name}' are given twice. Put them into one folder, or give each another name.")
        found[name] = lq, gt
    return found


def require_inputs(images: object, degradations: AnyDegradations, pairs: GivenPairs) -> None:
    """Refuse what is missing, before anything is loaded.

    Raises:
        UsageError: No degradation is given, or a written one and no images.
    """
    names = names_of(None, degradations or (None if pairs else ()), pairs)
    if images is None and (made := [name for name in names if name not in pairs]):
        raise UsageError(f"'{made[0]}' is made of clean images: --images is missing.")


def require_plugins(recorded: Sequence[Mapping[str, str]], run: str, note: Note) -> None:
    """Look for the packages whose degradations a run was made with.

    Args:
        recorded: What ``run.json`` says of them.
        run: The run folder, for the error.
        note: Receiver of a line where another version is installed.

    Raises:
        UsageError: A package is not installed.
    """
    for each in recorded:
        if each["group"] != DEGRADATIONS:  # scores are there already
            continue
        made, plugin = f"{each['package']} {each['version']}", declared(DEGRADATIONS).get(each["name"])
        if plugin is None or plugin.package != each["package"]:
            raise UsageError(
                f"'{run}' was made with '{each['name']}' of the package {quoted(made)}, which is not installed. "
                "Install it if you trust it, or rank again without it."
            )
        if plugin.version != each["version"]:
            note(f"warning: '{run}' was made with {quoted(made)}; {plugin} is installed and may degrade differently")


def recorded_degradations(
    names: list[str], facts: Mapping[str, Any], own: Mapping[str, Any], pairs: GivenPairs, run: str
) -> dict[str, AnyDegradation]:
    """Return the degradations of a run that are made of clean images; those of pairs must be given again.

    Args:
        names: Names of the run's degradations.
        facts: What the run says of those that are not just written.
        own: Name → function of the user's, given again.
        pairs: Name → pairs, given again.
        run: The run folder, for errors.

    Raises:
        UsageError: A function or pairs are missing, are another one, or are of no degradation of the run.
    """
    found: dict[str, AnyDegradation] = {}
    if strange := sorted({*own, *pairs} - {*names, CLEAN}):
        raise UsageError(f"'{strange[0]}' is no degradation of '{run}'. Legal: {', '.join(names)}.")
    for name in names:
        said = facts.get(name, name)
        if name in pairs:
            continue
        if name in own:
            found[name] = as_degradation(own[name])
            if found[name].facts != said:
                raise UsageError(f"'{name}' is another function than the one that '{run}' was made with.")
        elif isinstance(said, str):
            found[name] = Degradation.parse(said)
        elif is_of_pairs(said):
            raise UsageError(f"'{run}' knows '{name}' by pairs: give some, --pairs {name}=LQ_FOLDER,GT_FOLDER.")
        else:
            raise UsageError(
                f"'{run}' knows '{name}' by a function of your own, and nothing is imported because a file says so: "
                f"go on in Python and give it again, degradations={{'{name}': function}}."
            )
    return found
