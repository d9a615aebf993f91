# SPDX-License-Identifier: Apache-2.0
"""The images of a folder that can be used, and those that cannot, with the reason: one bad file ends no batch."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from filterlens.data.samples import Images, Sample, as_samples
from filterlens.errors import FilterlensError, UsageError
from filterlens.progress import Progress
from filterlens.record import listed


@dataclass(frozen=True)
class LeftOut:
    """An image that could not be used, and why."""

    name: str
    reason: str
    path: str | None = None


@dataclass(frozen=True)
class Readable:
    """The usable images of a job.

    Attributes:
        samples: Those that were read.
        described: Name, path, hash and size of each.
        left_out: The others.
    """

    samples: list[Sample]
    described: list[dict[str, Any]]
    left_out: tuple[LeftOut, ...]

    @property
    def record(self) -> dict[str, Any]:
        """What the job's record says of the images that were left out; nothing where there are none."""
        return {"left_out": [asdict(each) for each in self.left_out]} if self.left_out else {}


def readable(
    images: Images, progress: Progress, *, strict: bool, check: Callable[[dict[str, Any]], None] = lambda image: None
) -> Readable:
    """Read every image once.

    Args:
        images: See :func:`filterlens.data.samples.as_samples`.
        progress: Told of every image that is left out.
        strict: The first bad image ends the job.
        check: Raises a :class:`FilterlensError` for a described image that is of no use.

    Raises:
        FilterlensError: An image is bad and ``strict`` is set, or there is no good one.
    """
    samples, described, left_out = [], [], []
    for sample in as_samples(images, progress.note):
        try:
            facts = sample.provenance()
            check(facts)
        except UsageError:
            raise
        except FilterlensError as error:
            if strict:
                raise
            left_out.append(LeftOut(sample.name, str(error), None if sample.path is None else str(sample.path)))
            progress.note(f"left out: {error}")
        else:
            samples.append(sample)
            described.append(facts)
    if not samples:
        raise FilterlensError(f"None of the {len(left_out)} images can be used. The first one: {left_out[0].reason}")
    return Readable(samples, described, tuple(left_out))


def complain(left_out: Sequence[dict[str, Any]], done: str) -> None:
    """Raise after the work is done where images were left out, so that a script notices.

    Raises:
        FilterlensError: Names them.
    """
    if left_out:
        names = listed(each["name"] for each in left_out)
        raise FilterlensError(f"{done}, but without {names}: see the notes above, or left_out in the run's record.")
