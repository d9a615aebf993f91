# SPDX-License-Identifier: Apache-2.0
"""The inputs of a job: degradations by name with the images of each; and the one place where an input is made."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from filterlens.data.pairs import as_pairs
from filterlens.data.samples import Images, PairedSample, Sample, as_samples
from filterlens.degradations.given import AnyDegradations, as_degradations, checked_name
from filterlens.degradations.pipeline import CLEAN, Degradation
from filterlens.degradations.value import AnyDegradation, Pairs
from filterlens.errors import UsageError
from filterlens.progress import Note, silent

GivenPairs = Mapping[str, Any]
"""Name → pairs, in any form that :func:`filterlens.data.pairs.as_pairs` takes, or :class:`Pairs`."""


class Example(NamedTuple):
    """The truth ``(1, C, H, W)``, None where there is none, and the input of a network ``(1, c, H/scale, W/scale)``."""

    truth: Tensor | None
    lowered: Tensor


class Channels(NamedTuple):
    """How many channels a network takes and returns, and whether colours are turned into luma for it."""

    taken: int = 3
    returned: int = 3
    y: bool = False


COLOURS = Channels()


@dataclass(frozen=True, eq=False)
class Inputs:
    """Degradations by name, and the images of each.

    Attributes:
        degradations: Name → degradation.
        samples: Name → images; of pairs their own, of all others the same clean ones.
    """

    degradations: Mapping[str, AnyDegradation]
    samples: Mapping[str, Sequence[Sample]]

    @classmethod
    def of(cls, samples: Sequence[Sample], degradations: Mapping[str, AnyDegradation]) -> "Inputs":
        """Return inputs that are all made of the same clean images."""
        return cls(degradations, dict.fromkeys(degradations, samples))

    @property
    def are_shared(self) -> bool:
        """Whether all degradations have the same scenes, one for one, so that they can be compared image by image."""
        first = next(iter(self.samples.values()))
        return all(_same_scenes(first, each) for each in self.samples.values())

    @property
    def all_samples(self) -> list[Sample]:
        """Every image once, in the order of the degradations."""
        return list({id(sample): sample for samples in self.samples.values() for sample in samples}.values())

    def __iter__(self) -> Iterator[tuple[Sample, str]]:
        """Go through every image with every degradation: image by image where they share them, else name by name."""
        if self.are_shared:
            rows = zip(*(self.samples[name] for name in self.degradations), strict=True)
            yield from ((sample, name) for row in rows for name, sample in zip(self.degradations, row, strict=True))
        else:
            yield from ((sample, name) for name in self.degradations for sample in self.samples[name])

    @property
    def facts(self) -> dict[str, Any]:
        """What a record says of those degradations that are not just written: name → its facts."""
        known = {name: each.facts for name, each in self.degradations.items()}
        return {name: facts for name, facts in known.items() if facts != name}

    def with_clean(self) -> "Inputs":
        """Return the inputs with clean ones too: of the clean images, else of the truths of the pairs.

        Raises:
            UsageError: There is no clean image.
        """
        if CLEAN in self.degradations:
            return self
        clean = next(
            (self.samples[name] for name, each in self.degradations.items() if not isinstance(each, Pairs)), None
        )
        if clean is None:
            clean = self.truths()
        return Inputs({**self.degradations, CLEAN: Degradation()}, {**self.samples, CLEAN: clean})

    def truths(self) -> list[Sample]:
        """Return the clean images of the pairs, each scene once.

        Raises:
            UsageError: A pair has none.
        """
        found: dict[str, Sample] = {}
        single = len(self.samples) == 1
        for name, samples in self.samples.items():
            for number, sample in enumerate(samples):
                if isinstance(sample, PairedSample) and not sample.has_truth:
                    more = ", or a second degradation" if single else ""
                    raise UsageError(f"The pairs '{name}' have no clean images to compare with: give them{more}.")
                truth = clean_of(sample)
                found.setdefault(str(number) if single else truth.fingerprint(), truth)
        return list(found.values())

    def only(self, names: Sequence[str]) -> "Inputs":
        """Return the inputs of some degradations."""
        return Inputs({name: self.degradations[name] for name in names}, {name: self.samples[name] for name in names})


def inputs_of(
    images: Images | None,
    degradations: AnyDegradations,
    pairs: GivenPairs | None = None,
    *,
    channels: Channels = COLOURS,
    note: Note = silent,
) -> Inputs:
    """Read images, degradations and pairs as people give them.

    Args:
        images: Clean HR images; None where all degradations are given as pairs.
        degradations: Written ones, functions, or name → either.
        pairs: Name → pairs.
        channels: Channels of the network.
        note: Receiver of remarks.

    Raises:
        UsageError: Nothing is given, a name is given twice, images are missing, or given and not used.
    """
    if pairs is not None and not isinstance(pairs, Mapping):
        raise UsageError(f"pairs={type(pairs).__name__} is not legal: name the degradation, {{'rain': (lq, gt)}}.")
    found = as_degradations(degradations) if degradations is not None or not pairs else {}
    made = [name for name, each in found.items() if not isinstance(each, Pairs)]
    for name, given in (pairs or {}).items():
        name = checked_name(name)
        if name in found or name == CLEAN:
            raise UsageError(f"'{name}' names pairs and another degradation too. Choose another name for the pairs.")
        found[name] = as_pairs_value(name, given, channels, note)
    if images is None and made:
        raise UsageError(f"'{made[0]}' is made of clean images, and none are given. Give images, or pairs instead.")
    if images is not None and not made:
        raise UsageError("No degradation uses the images, since pairs bring their own. Leave them out.")
    clean = [] if images is None else as_samples(images, note, channels=channels.returned, y=channels.y)
    return Inputs(found, {name: each.samples if isinstance(each, Pairs) else clean for name, each in found.items()})


def names_of(images: object, degradations: AnyDegradations, pairs: GivenPairs | None = None) -> list[str]:
    """Return the names of degradations without reading an image; arguments as for :func:`inputs_of`, or inputs."""
    if isinstance(images, Inputs):
        return list(images.degradations)
    found = list(as_degradations(degradations) if degradations is not None or not pairs else ())
    return [*found, *(checked_name(name) for name in pairs or ())]


def as_pairs_value(name: str, given: Any, channels: Channels = COLOURS, note: Note = silent) -> Pairs:
    """Return pairs as a degradation; arguments as for :func:`inputs_of`."""
    if isinstance(given, Pairs):
        return given
    taken, returned, y = channels
    return Pairs(tuple(as_pairs(name, given, note, channels_in=taken, channels_out=returned, y=y)))


def example_of(
    sample: Sample,
    degradation: AnyDegradation,
    scale: int,
    *,
    multiple: int = 1,
    seed: int = 0,
    resampler: str = "bicubic",
    like: Tensor | None = None,
) -> Example:
    """Make the input of a network of one image.

    Args:
        sample: Clean image; of pairs one of their own.
        degradation: Way from one to the other.
        scale: HR size over LR size.
        multiple: Number that divides the sides of the cut HR image, in addition to the scale.
        seed: Seed of random numbers.
        resampler: Filter of the down-sampling.
        like: Tensor whose device and type both get.

    Raises:
        FilterlensError: The image cannot be read, or a function of the user's fails.
        UsageError: Nothing remains of the image, or the two of a pair do not fit each other.
    """
    multiple = math.lcm(scale, multiple)
    if isinstance(sample, PairedSample) and isinstance(degradation, Pairs):
        truth, lowered = sample.both(scale, multiple)
        return Example(_like(truth, like), _like(lowered, like))
    clean = _like(sample.truth(multiple), like)
    return Example(clean, degradation.apply(clean, scale, seed=seed, resampler=resampler))


def part_of_pair(
    sample: PairedSample, scale: int, multiple: int, name: str, cut: Callable[[Tensor, int], Tensor]
) -> PairedSample:
    """Return a part of a pair as a pair.

    Args:
        sample: The pair.
        scale: HR size over LR size.
        multiple: Number that divides the sides of the truth before it is cut.
        name: Name of the part.
        cut: Function of an image ``(C, H, W)`` and of how many of its pixels, per side, are one LR pixel.
    """

    def truth() -> Tensor:
        found = sample.both(scale, multiple)[0]
        assert found is not None
        return cut(found[0], scale).cpu()

    return PairedSample(
        name,
        truth if sample.has_truth else sample.read,
        lowered=lambda: cut(sample.both(scale, multiple)[1][0], 1).cpu(),
        has_truth=sample.has_truth,
    )


def clean_of(sample: Sample) -> Sample:
    """Return the truth of a pair as an image of its own."""
    return Sample(sample.name, sample.read, sample.path, sample.channels, sample.y and sample.channels == 1)


def _like(image: Tensor | None, like: Tensor | None) -> Any:
    return image if image is None or like is None else image.to(like)


def _same_scenes(first: Sequence[Sample], second: Sequence[Sample]) -> bool:
    return first is second or (
        len(first) == len(second) and all(_is_same(one, other) for one, other in zip(first, second, strict=True))
    )


def _is_same(one: Sample, other: Sample) -> bool:
    return one is other or one.read is other.read or (one.path is not None and one.path == other.path)
