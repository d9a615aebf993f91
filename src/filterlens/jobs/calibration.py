# SPDX-License-Identifier: Apache-2.0
"""The images on which the classifier of a run is calibrated: the run's own, and pairs and functions given again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from filterlens.data.images import read_image
from filterlens.data.recorded_pairs import RecordedPairs
from filterlens.data.samples import Sample
from filterlens.degradations import AnyDegradation, Pairs
from filterlens.degradations.given import OneDegradation, as_degradation
from filterlens.degradations.inputs import Channels, GivenPairs, Inputs, as_pairs_value
from filterlens.degradations.pipeline import CLEAN
from filterlens.errors import FilterlensError
from filterlens.files import sha256_of
from filterlens.jobs.inputs import recorded_degradations
from filterlens.progress import Note, silent
from filterlens.run.facts import is_of_pairs
from filterlens.run.folder import places_of

GONE = "The images of this run cannot be read any more, so nothing is calibrated on them."


@dataclass(frozen=True)
class Given:
    """What the user gives again for a calibration, since the run cannot make or open it by itself.

    Attributes:
        pairs: Name → pairs, in place of the run's own.
        degradations: Name → function of the user's.
    """

    pairs: Mapping[str, Pairs]
    degradations: Mapping[str, OneDegradation]

    def __bool__(self) -> bool:
        return bool(self.pairs or self.degradations)

    @classmethod
    def of(
        cls,
        pairs: GivenPairs | None,
        degradations: Mapping[str, OneDegradation] | None,
        channels: Channels,
        note: Note = silent,
    ) -> "Given":
        """Read what the user gave; see :func:`filterlens.degradations.inputs.inputs_of`."""
        found = {name: as_pairs_value(name, each, channels, note) for name, each in (pairs or {}).items()}
        return cls(found, degradations or {})

    def digest(self) -> str:
        """Return a hash of the images of the pairs, and of the code of the functions."""
        contents = {name: [sample.fingerprint() for sample in each.samples] for name, each in self.pairs.items()}
        code = {name: as_degradation(each).facts for name, each in self.degradations.items()}
        return hashlib.sha256(json.dumps([contents, code], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class CalibrationImages:
    """The images of a calibration.

    Attributes:
        clean: Clean HR images, of which inputs without and with written degradations are made.
        degradations: Name → degradation; pairs bring their own images.
    """

    clean: Sequence[Sample]
    degradations: Mapping[str, AnyDegradation]

    def first(self, count: int) -> "CalibrationImages":
        """Return the first images of each kind."""
        cut = {
            name: replace(each, samples=each.samples[:count]) if isinstance(each, Pairs) else each
            for name, each in self.degradations.items()
        }
        return CalibrationImages(self.clean[:count], cut)

    @property
    def most(self) -> int:
        """The number of images of the kind that has most."""
        pairs = [each.samples for each in self.degradations.values() if isinstance(each, Pairs)]
        return max(len(each) for each in (self.clean, *pairs))


def calibration_images(run: Path, facts: Mapping[str, Any], given: Given, channels: Channels) -> CalibrationImages:
    """Gather what a run's classifier is calibrated on.

    Args:
        run: The run folder.
        facts: Its ``run.json``.
        given: What the user gave again.
        channels: Channels of the network.

    Raises:
        FilterlensError: Images are gone or have changed, or were never files.
        UsageError: A function must be given again, what is given is of no degradation of the run, or no input is
            without a degradation.
    """
    settings = facts["settings"]
    said = settings.get("inputs", {})
    names = [name for name in settings["degradations"] if name != CLEAN]
    recorded = [name for name in names if is_of_pairs(said.get(name))]
    missing = [name for name in recorded if name not in given.pairs]
    have = dict.fromkeys([*missing, *given.pairs])
    made = recorded_degradations(settings["degradations"], said, given.degradations, have, str(run))
    pairs = dict(given.pairs) | {name: _recorded_pairs(run, facts, name, channels) for name in missing}
    made = {name: each for name, each in made.items() if name != CLEAN}
    found = {name: made[name] if name in made else pairs[name] for name in names}
    if made:
        clean: Sequence[Sample] = _readable(run, facts["images"], channels)
        if not clean:
            raise FilterlensError(GONE)
    else:
        inputs = Inputs(found, {name: each.samples for name, each in pairs.items()})
        has_truth = all(each.has_truth for each in pairs.values())
        clean = inputs.truths() if has_truth or len(names) < 2 else []  # without clean ones, the others are without it
    return CalibrationImages(clean, found)


def _recorded_pairs(run: Path, facts: Mapping[str, Any], name: str, channels: Channels) -> Pairs:
    entries = [each for each in facts["images"] if each.get("degradation") == name and "lq" in each]
    if not entries:
        raise FilterlensError(GONE)
    taken, returned, y = channels
    recorded = RecordedPairs.from_facts({"name": name, "pairs": entries})
    read = recorded.read(partial(places_of, run=run), channels_in=taken, channels_out=returned, y=y)
    return Pairs(tuple(read))


def _readable(run: Path, images: Sequence[Mapping[str, Any]], channels: Channels) -> list[Sample]:
    """Return the images of a run, but pairs, that still are what they were."""
    samples = []
    for entry in images:
        places = [each for each in places_of(entry, run) if each.is_file()] if "lq" not in entry else []
        path = next((each for each in places if sha256_of(each) == entry.get("sha256")), None)
        if path is not None:
            samples.append(Sample(entry["name"], partial(read_image, path), path, channels.returned, channels.y))
    return samples
