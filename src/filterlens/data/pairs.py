# SPDX-License-Identifier: Apache-2.0
"""Pairs of LQ (degraded) and GT (clean) images in every form people hold, matched by name or by position."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from filterlens.data.forms import is_image_like, is_in_memory, paths_said
from filterlens.data.matching import SCENE, SHOWN, Template, matched, with_template
from filterlens.data.samples import Images, PairedSample, Sample, Taking, as_samples, items_of, samples_of
from filterlens.data.spool import Spool
from filterlens.errors import UsageError, quoted
from filterlens.progress import Note, silent

LQ_KEYS = ("lq", "lr", "input")
GT_KEYS = ("gt", "hq", "hr", "target")
FORMS = "a tuple (lq, gt) of folders, images or sequences, a mapping with 'lq' and 'gt', or a dataset of pairs"
_WRITTEN = "NAME=LQ_DIR,GT_DIR, for example rain=data/rainy,data/clean"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_ONE_COMMA = re.compile(r"(?<!,),(?!,)")

GivenPairs = tuple[Images, Images | None] | Mapping[str, Any] | Iterable[Any] | Dataset[Any]


def as_pairs(
    name: str,
    given: GivenPairs,
    note: Note = silent,
    *,
    channels_in: int = 3,
    channels_out: int = 3,
    y: bool = False,
    template: str = SCENE,
) -> list[PairedSample]:
    """Accept pairs of LQ and GT in every form people hold.

    ``(lq, gt)`` of two folders (matched by name), files, tensors, arrays, PIL images or sequences (matched by
    position); a mapping with ``lq`` and ``gt``; a sequence, ``Dataset`` or ``DataLoader`` of such pairs;
    ``(lq, None)``, a folder or an image alone where there is no GT.

    Args:
        name: Name of the degradation, for errors.
        given: The pairs.
        note: Receiver of one line when values a little outside [0, 1] were clipped.
        channels_in: Number of channels that the network takes.
        channels_out: Number of channels that it gives.
        y: Take the luma of the images where the network has one channel.
        template: How LQ files are named after GT files, without suffix, as in BasicSR: ``{}x4``, or ``{}_*`` where one
            GT image has several. A folder may end with the template of its names instead: ``LQ/{}x4``.

    Raises:
        FilterlensError: A folder is missing or empty, or partners are missing; each is listed.
        UsageError: The pairs come in an unknown form, both sides are the same, or there are none.
    """
    if y and 1 not in (channels_in, channels_out):
        raise UsageError(
            f"y=True makes one channel (luma) of colours, but the network takes {channels_in} and gives {channels_out}."
        )
    how = _How(name, note, channels_in, channels_out, y, template)
    pairs = list(how.pairs(given))
    if not pairs:
        raise UsageError(f"There are no pairs for '{name}'.")
    for pair in pairs:
        if pair.path is not None and pair.lowered_path is not None and _same(pair.path, pair.lowered_path):
            raise UsageError(f"LQ and GT of pair '{pair.name}' for '{name}' are the same file, '{pair.path}'.")
    return pairs


def parse_pairs(text: str) -> tuple[str, str, str | None]:
    """Read ``NAME=LQ,GT`` or ``NAME=LQ``: the name of a degradation, and the folders of its LQ and GT images.

    Paths may hold ``=``; a comma in a path is written twice. A folder may end with a template of names, as in
    ``rain=LQ/{}x4,GT``. A ``~`` at the beginning is the home folder.

    Returns:
        Name, LQ, and GT or None.

    Raises:
        UsageError: The text has another form.
    """
    name, equals, rest = text.partition("=")
    if not equals:
        raise UsageError(f"'{quoted(text)}' names no pairs: {_WRITTEN}.")
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{quoted(name)}' is no name for pairs: letters, digits and -_., as in {_WRITTEN}.")
    paths = [part.replace(",,", ",") for part in _ONE_COMMA.split(rest)]
    if len(paths) > 2:
        raise UsageError(
            f"'{quoted(text)}' names {len(paths)} folders, not LQ and GT. A comma in a path is written twice."
        )
    if not all(paths):
        raise UsageError(f"'{quoted(text)}' leaves a folder empty: {_WRITTEN}, or NAME=LQ_DIR where there is no GT.")
    lq, *gt = (str(Path(path).expanduser()) if path.startswith("~") else path for path in paths)
    return name, lq, gt[0] if gt else None


@dataclass(frozen=True)
class _How:
    """How pairs are taken."""

    name: str
    note: Note
    channels_in: int
    channels_out: int
    y: bool
    template: str

    def pairs(self, given: Any) -> Iterator[PairedSample]:
        """Yield the pairs of what was given."""
        if isinstance(given, PairedSample):
            given = [given]
        elif _is_image(given):
            given = (given, None)
        if isinstance(given, Mapping):
            yield from self._of_sides(*self._of_keys("the pairs", given)[:2])
        elif self._is_two_sides(given):
            yield from self._of_sides(*given)
        elif (items := items_of(given)) is not None:
            yield from self._of_items(items, None if isinstance(given, list | tuple) else Spool())
        else:
            raise UsageError(f"Pairs for '{self.name}' come as {FORMS}, not as {type(given).__name__}.")

    def _is_two_sides(self, given: Any) -> bool:
        """Whether a value is LQ and GT, and no sequence of two pairs."""
        if not isinstance(given, tuple | list) or len(given) != 2:
            return False
        if all(_is_image(each) or each is None for each in given):
            return True
        if all(type(each) is type(given) and len(each) == 2 for each in given):
            kind = type(given).__name__
            raise UsageError(
                f"Pairs for '{self.name}' are a {kind} of two {kind}s: it could be LQ and GT, or two pairs. Give a "
                "list of tuples (lq, gt), or a tuple of two lists."
            )
        return isinstance(given, tuple)

    def _of_sides(self, lq: Any, gt: Any) -> Iterator[PairedSample]:
        lq, of_lq = with_template(lq, Template(self.template))
        gt, of_gt = with_template(gt, Template())
        if lq is None:
            raise UsageError(f"Pairs for '{self.name}' have no LQ images. Give {FORMS}.")
        one_folder = _is_path(lq) and _is_path(gt) and _same(lq, gt)
        if lq is gt or (one_folder and SCENE in (of_lq.text, of_gt.text)) or (one_folder and of_lq == of_gt):
            what = f", '{lq}'" if _is_path(lq) else ""
            raise UsageError(
                f"LQ and GT for '{self.name}' are the same{what}. Give the degraded images and the clean ones."
            )
        lowered = self._side("LQ", lq, self.channels_in)
        if gt is None:
            for each in lowered:
                scenes = [] if of_lq.is_many else of_lq.scenes(each.name)
                yield self._pair((scenes or [each.name])[0], each, None)
            return
        truths = self._side("GT", gt, self.channels_out)
        if not (_has_names(lq) or _has_names(gt)):
            yield from self._by_position(lowered, truths)
        elif _are_named(lq, lowered) and _are_named(gt, truths):
            yield from self._by_name(lowered, truths, (of_lq, of_gt), one_folder)
        else:
            raise UsageError(
                f"Of the pairs for '{self.name}', only one side has names. Give two folders, two mappings or two "
                "sequences."
            )

    def _side(self, side: str, images: Any, channels: int) -> list[Sample]:
        try:
            return as_samples(images, self.note, channels=channels, y=self.y and channels == 1)
        except UsageError as error:
            raise UsageError(f"{side} for '{self.name}': {error}") from error

    def _by_position(self, lowered: Sequence[Sample], truths: Sequence[Sample]) -> Iterator[PairedSample]:
        if len(lowered) != len(truths):
            raise UsageError(
                f"For '{self.name}' there are {len(lowered)} LQ and {len(truths)} GT images. Sequences are matched by "
                "position: give as many of each."
            )
        for lq, gt in zip(lowered, truths, strict=True):
            yield self._pair(lq.name if gt.path is None and lq.path is not None else gt.name, lq, gt)

    def _by_name(
        self,
        lowered: Sequence[Sample],
        truths: Sequence[Sample],
        templates: tuple[Template, Template],
        one_folder: bool,
    ) -> Iterator[PairedSample]:
        of_lq, of_gt = ({each.name: each for each in side} for side in (lowered, truths))
        for name, lq, gt in matched(self.name, list(of_lq), list(of_gt), *templates, one_folder=one_folder):
            yield self._pair(name, of_lq[lq], of_gt[gt])

    def _of_items(self, items: Iterable[Any], spool: Spool | None) -> Iterator[PairedSample]:
        number = 0
        for item in items:
            if isinstance(item, PairedSample):
                yield self._again(item)
                number += 1
                continue
            lq, gt, paths = self._of_item(number, item)
            if _is_path(lq) and (gt is None or _is_path(gt)):
                found = list(self._of_sides(lq, gt))
            else:
                found = list(self._of_batch(number, lq, gt, paths, spool))
            yield from found
            number += len(found)

    def _of_batch(
        self, number: int, lq: Any, gt: Any, paths: tuple[Sequence[str], Sequence[str]], spool: Spool | None
    ) -> Iterator[PairedSample]:
        sides: list[list[Sample]] = []
        for side, value, channels, named in (
            ("LQ", lq, self.channels_in, paths[0]),
            ("GT", gt, self.channels_out, paths[1]),
        ):
            how = Taking(self.note, channels, self.y and channels == 1, spool)
            try:
                sides.append(
                    [] if value is None else list(samples_of(str(number), value, how, start=number, paths=named))
                )
            except UsageError as error:
                raise UsageError(f"{side} for '{self.name}': {error}") from error
        lowered, truths = sides
        if gt is None:
            yield from (self._pair(each.name, each, None) for each in lowered)
        else:
            yield from self._by_position(lowered, truths)

    def _of_item(self, number: int, item: Any) -> tuple[Any, Any, tuple[Sequence[str], Sequence[str]]]:
        if isinstance(item, Mapping):
            return self._of_keys(f"Item {number}", item)
        if isinstance(item, tuple | list) and len(item) >= 2 and not any(is_image_like(each) for each in item[2:]):
            lq, gt = item[:2]
            if _is_image(lq) and (gt is None or _is_image(gt)):
                return lq, gt, ((), ())
        raise UsageError(
            f"Item {number} of the pairs for '{self.name}' is {_kind(item)}, not a pair. Give (lq, gt), "
            "(lq, None) or a mapping with 'lq' and 'gt'."
        )

    def _of_keys(self, what: str, item: Mapping[Any, Any]) -> tuple[Any, Any, tuple[Sequence[str], Sequence[str]]]:
        lq = next((key for key in LQ_KEYS if key in item), None)
        gt = next((key for key in GT_KEYS if key in item), None)
        if lq is None:
            keys = ", ".join(f"'{quoted(key, 30)}'" for key in list(item)[:SHOWN]) or "nothing"
            raise UsageError(f"{what} for '{self.name}': a mapping of {keys}. Give 'lq' and 'gt'.")
        paths = paths_said(item, lq), () if gt is None else paths_said(item, gt)
        return item[lq], None if gt is None else item[gt], paths

    def _again(self, pair: PairedSample) -> PairedSample:
        """Return a pair for these channels; luma stays luma."""
        lq = Sample(pair.name, pair.lowered, pair.lowered_path)
        gt = Sample(pair.name, pair.read, pair.path) if pair.has_truth else None
        taken = [
            None if side is None else Taking(self.note, channels, self.y and channels == 1).again(side)
            for side, channels in ((lq, self.channels_in), (gt, self.channels_out))
        ]
        assert taken[0] is not None
        y = self.y or (pair.y and 1 in (self.channels_in, self.channels_out))
        return replace(self._pair(pair.name, taken[0], taken[1]), y=y)

    def _pair(self, name: str, lq: Sample, gt: Sample | None) -> PairedSample:
        return PairedSample(
            name,
            lq.read if gt is None else gt.read,
            None if gt is None else gt.path,
            self.channels_out,
            self.y,
            lowered=lq.read,
            lowered_path=lq.path,
            lowered_channels=self.channels_in,
            has_truth=gt is not None,
        )


def _is_path(value: object) -> bool:
    return isinstance(value, str | Path)


def _is_image(value: object) -> bool:
    return (isinstance(value, str | Path | Sample) and not isinstance(value, PairedSample)) or is_in_memory(value)


def _has_names(side: object) -> bool:
    """Whether images are matched by name: those of a folder or a mapping."""
    return isinstance(side, Mapping) or (isinstance(side, str | Path) and Path(side).is_dir())


def _are_named(side: object, samples: Sequence[Sample]) -> bool:
    return _has_names(side) or all(sample.path is not None for sample in samples)


def _same(first: Path | str, second: Path | str) -> bool:
    try:
        return Path(first).samefile(second)
    except OSError:
        return False


def _kind(item: object) -> str:
    return f"{type(item).__name__} of {len(item)}" if isinstance(item, tuple | list) else type(item).__name__
