# SPDX-License-Identifier: Apache-2.0
"""The pairs of a training: some scenes held out for validation, pairs that cannot be used left out with a reason."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from filterlens.data.images import to_uint8
from filterlens.data.pair_patches import PairPixels
from filterlens.data.samples import PairedSample
from filterlens.degradations.given import checked_name
from filterlens.degradations.inputs import COLOURS, Channels, GivenPairs, as_pairs_value, clean_of
from filterlens.degradations.pipeline import CLEAN
from filterlens.errors import FilterlensError, UsageError
from filterlens.jobs.training_images import HELD_OUT_EVERY, ReadImages
from filterlens.progress import Progress


@dataclass
class TrainingPairs:
    """Pairs that could be read.

    Attributes:
        training: Name of a degradation → pairs to train on.
        judging: Name → pairs that judge; may be none.
        left_out: File and reason of the pairs that cannot be used.
        held_out: GT files of scenes that judge.
    """

    training: dict[str, list[PairPixels]] = field(default_factory=dict)
    judging: dict[str, list[PairPixels]] = field(default_factory=dict)
    left_out: list[dict[str, str]] = field(default_factory=list)
    held_out: set[Path] = field(default_factory=set)

    @property
    def described(self) -> str:
        """The degradations and how many pairs each has."""
        return ", ".join(f"{name} ({len(pairs)} pairs)" for name, pairs in self.training.items())

    @property
    def facts(self) -> dict[str, Any]:
        """What a record says of them: name → number of pairs that train and that judge."""
        return {
            name: {"count": len(pairs), "judging": len(self.judging[name])} for name, pairs in self.training.items()
        }

    @property
    def judges(self) -> int:
        """Number of pairs that judge."""
        return sum(map(len, self.judging.values()))

    def completed(self, training: ReadImages, judging: ReadImages) -> tuple[ReadImages, ReadImages]:
        """Return images to train on and to judge by: those given, else the clean images of the pairs.

        Args:
            training: Images to train on; may be none.
            judging: Images that judge; may be none.
        """
        found = []
        for images, judge in ((training, False), (judging, True)):
            names, pixels = (images.names, images.pixels) if images.pixels else self.truths(judge)
            left_out = [*images.left_out, *([] if judge else self.left_out)]
            found.append(ReadImages([Path(name) for name in names], pixels, left_out))
        return found[0], found[1]

    def truths(self, judging: bool = False) -> tuple[list[str], list[Tensor]]:
        """Return names and pixels of the clean images, each scene once."""
        sets = self.judging if judging else self.training
        found = {id(pair.truth): pair for pairs in sets.values() for pair in pairs}
        return [pair.name for pair in found.values()], [pair.truth for pair in found.values()]


def read_pairs(
    given: GivenPairs, scale: int, progress: Progress, *, at_least: int = 2, channels: Channels = COLOURS
) -> TrainingPairs:
    """Read pairs as 8 bits; every 20th scene of each degradation is held out, from all degradations.

    Args:
        given: Name → pairs.
        scale: HR size over LR size.
        progress: Receiver of the bar, and of a note for each pair that is left out.
        at_least: The number of scenes of a degradation from which some are held out.
        channels: Channels of the network.

    Raises:
        FilterlensError: Partners are missing, or no pair of a degradation can be used.
        UsageError: The pairs come in an unknown form, have no GT, or there are none.
    """
    samples = {checked_name(name): _samples(name, each, channels, progress) for name, each in given.items()}
    scenes = {name: [_scene(sample) for sample in each] for name, each in samples.items()}
    judged = {scene for each in scenes.values() for scene in _held_out(each, at_least)}
    found, truths = TrainingPairs(), _Truths()
    with progress.bar("read pairs", sum(map(len, samples.values()))) as bar:
        for name, each in samples.items():
            first = len(found.left_out)
            found.training[name], found.judging[name] = [], []
            for sample, scene in zip(each, scenes[name], strict=True):
                is_judge = scene in judged
                try:
                    pair = truths.read(sample, scene, scale)
                except UsageError:
                    raise
                except FilterlensError as error:
                    found.left_out.append({"file": str(sample.lowered_path or sample.name), "reason": str(error)})
                else:
                    (found.judging if is_judge else found.training)[name].append(pair)
                    if is_judge and sample.path is not None:
                        found.held_out.add(sample.path.resolve())
                bar.advance()
            if not found.training[name]:
                raise FilterlensError(_none(name, len(each), found.left_out[first:]))
    for entry in found.left_out:
        progress.note(f"left out: {entry['reason']}")
    return found


@dataclass(frozen=True)
class _Truths:
    """Keeps the clean image of a scene once, however many pairs have it."""

    kept: dict[tuple[str, tuple[int, ...]], Tensor] = field(default_factory=dict)

    def read(self, sample: PairedSample, scene: str, scale: int) -> PairPixels:
        truth, lowered = sample.both(scale, scale)
        assert truth is not None
        key = (scene, tuple(truth.shape))
        if key not in self.kept:
            self.kept[key] = to_uint8(truth)
        return PairPixels(sample.name, self.kept[key], to_uint8(lowered))


def _samples(name: str, given: Any, channels: Channels, progress: Progress) -> Sequence[PairedSample]:
    if name == CLEAN:
        raise UsageError(f"'{CLEAN}' names clean inputs. Choose another name for the pairs.")
    samples = as_pairs_value(name, given, channels, progress.note).samples
    for sample in samples:
        if not sample.has_truth:
            raise UsageError(
                f"Pair '{sample.name}' for '{name}' has no GT image to learn from. Give --pairs {name}=LQ_DIR,GT_DIR."
            )
    return samples


def _scene(sample: PairedSample) -> str:
    """Return what tells a scene from others: the content of its GT, also where the file was copied."""
    try:
        return clean_of(sample).fingerprint()
    except (FilterlensError, OSError):
        return str(sample.path)  # which is left out when it is read


def _held_out(scenes: Sequence[str], at_least: int) -> list[str]:
    scenes = list(dict.fromkeys(scenes))
    return scenes[::HELD_OUT_EVERY] if len(scenes) >= at_least else []


def _none(name: str, count: int, left_out: list[dict[str, str]]) -> str:
    if not left_out:
        return f"All {count} pairs for '{name}' show scenes that are held out. Give more pairs."
    return f"None of the {count} pairs for '{name}' can be trained on. The first one: {left_out[0]['reason']}"
