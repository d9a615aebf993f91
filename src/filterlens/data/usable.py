# SPDX-License-Identifier: Apache-2.0
"""The usable images of a job, and those left out, with the reason, so that one bad file does not end the job."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filterlens.data.samples import Images, Sample, as_samples
from filterlens.errors import FilterlensError, UsageError
from filterlens.execution.memory import is_out_of_memory
from filterlens.progress import Progress


@dataclass(frozen=True)
class LeftOut:
    """An image that could not be used, and why in one line."""

    name: str
    reason: str
    path: str | None = None

    @property
    def message(self) -> str:
        """The reason, with the image before it where it does not name it."""
        place = self.path or self.name
        return self.reason if place in self.reason else f"{place}: {self.reason}"


@dataclass(frozen=True)
class Readable:
    """The usable images of a job.

    Attributes:
        samples: Samples that were read.
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
    images: Images,
    progress: Progress,
    *,
    strict: bool,
    check: Callable[[dict[str, Any]], None] = lambda image: None,
    channels: int = 3,
    y: bool = False,
) -> Readable:
    """Read every image once.

    Args:
        images: See :func:`filterlens.data.samples.as_samples`; also pairs, as
            :func:`filterlens.data.pairs.as_pairs` makes them.
        progress: Told of every image that is left out.
        strict: The first bad image ends the job.
        check: Raises a :class:`FilterlensError` for a described image that is of no use.
        channels: Number of channels that the network takes.
        y: Take the luma of the images.

    Raises:
        FilterlensError: An image is bad and ``strict`` is set, or there is no good one.
    """
    samples, described, left_out = [], [], []
    for sample in as_samples(images, progress.note, channels=channels, y=y):
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


def failure_of(error: Exception, path: Path) -> FilterlensError:
    """Return what is wrong with an image as an error for its user.

    Args:
        error: Error raised while the image was read or processed.
        path: The image's file.

    Raises:
        Exception: The error itself, where it is a fault of the program.
    """
    if isinstance(error, FilterlensError):
        return error
    if is_out_of_memory(error):
        return FilterlensError(f"Out of memory at '{path}'. Free memory, or cut it into parts.")
    if isinstance(error, OSError):
        return FilterlensError(f"Cannot read image '{path}': {error.strerror or error}.")
    raise error
