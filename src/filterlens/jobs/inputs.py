# SPDX-License-Identifier: Apache-2.0
"""The inputs of a job: images, degradations and pairs as the user gave them, read once, bad images left out."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from filterlens.data.samples import Images, Sample
from filterlens.data.usable import LeftOut, Readable, readable
from filterlens.degradations.given import AnyDegradations, as_degradation
from filterlens.degradations.inputs import Channels, GivenPairs, Inputs, inputs_of
from filterlens.degradations.pipeline import CLEAN, Degradation
from filterlens.degradations.value import AnyDegradation, Pairs
from filterlens.errors import UsageError
from filterlens.progress import Progress


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
    for name, samples in given.samples.items():
        if id(samples) not in read:
            usable = readable(samples, progress, strict=strict, check=check)
            read[id(samples)] = usable
            of_pairs = {"degradation": name} if isinstance(given.degradations[name], Pairs) else {}
            described += [image | of_pairs for image in usable.described]
        found[name] = read[id(samples)].samples
    left_out = tuple(each for usable in read.values() for each in usable.left_out)
    return UsableInputs(Inputs(given.degradations, found), described, left_out)


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
        elif isinstance(said, Mapping) and "pairs" in said:
            raise UsageError(f"'{run}' knows '{name}' by pairs: give some, --pairs {name}=LQ_FOLDER,GT_FOLDER.")
        else:
            raise UsageError(
                f"'{run}' knows '{name}' by a function of your own, and nothing is imported because a file says so: "
                f"judge in Python and give it again, degradations={{'{name}': function}}."
            )
    return found
