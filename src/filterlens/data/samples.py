# SPDX-License-Identifier: Apache-2.0
"""Images and pairs from files or memory, read one at a time, so that a large folder needs little memory."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt
import PIL.Image
from torch import Tensor
from torch.utils.data import Dataset

from filterlens.data.channels import WITH_OPACITY, require_channels, with_channels
from filterlens.data.forms import FORMS, checked, image_of_item, images_of, is_in_memory
from filterlens.data.images import crop_to_multiple, image_size, of_pillow, read_image, to_float
from filterlens.data.listing import find_images, require_local
from filterlens.data.spool import Spool
from filterlens.errors import FilterlensError, UsageError
from filterlens.files import sha256_of
from filterlens.progress import Note, silent


@dataclass(frozen=True)
class Sample:
    """One HR image: a name, and a function that reads its pixels.

    Attributes:
        name: Stem of the file, key of the mapping, or the position in the sequence.
        read: Function that returns ``(C, H, W)``, uint8 or float in [0, 1], with the channels that the image has.
        path: The file, if there is one.
        channels: Number of channels that the network takes; None for those that ``read`` gives.
        y: True where one channel is the luma of the colours.
    """

    name: str
    read: Callable[[], Tensor]
    path: Path | None = None
    channels: int | None = None
    y: bool = False

    def image(self) -> Tensor:
        """Return the image ``(channels, H, W)``, uint8 or float in [0, 1].

        Raises:
            FilterlensError: The file cannot be read.
            UsageError: A tensor is not an image in [0, 1], or has other channels than the network takes.
        """
        return with_channels(self.name, checked(self.name, self.read()), self.channels, self.y)

    def truth(self, multiple: int) -> Tensor:
        """Return the image as ``(1, channels, H, W)`` in [0, 1], cut to multiples of ``multiple``.

        Raises:
            FilterlensError: The file cannot be read.
            UsageError: As for :meth:`image`, or nothing remains after the cut.
        """
        image = self.image()
        cut = crop_to_multiple(image, multiple)
        if not cut.numel():
            raise UsageError(
                f"Image '{self.name}' of {image.shape[2]}x{image.shape[1]} is smaller than {multiple} pixels."
            )
        return _batch(cut)

    def pixels(self) -> int:
        """Return the number of pixels; a file is not decoded for it."""
        return _pixels(self.path, self.read)

    def fingerprint(self) -> str:
        """Return a hash of the content: of the file, or of the pixels; where luma is taken, of that too."""
        content = _content(self.path, self.read)
        return _sha256(content.encode() + b"y") if self.y else content

    def provenance(self) -> dict[str, Any]:
        """Return name, path, hash and size of the image, for the record."""
        return {"name": self.name, **_described(self.path, self.image())}


@dataclass(frozen=True, kw_only=True)
class PairedSample(Sample):
    """One scene given as LQ (degraded) and GT (clean), which ``read`` and ``path`` stand for.

    Attributes:
        lowered: Function that returns the LQ image ``(c, h, w)``, uint8 or float in [0, 1].
        lowered_path: Its file, if there is one.
        lowered_channels: Number of channels that the network takes; None for those of the image.
        has_truth: False where there is no GT; :meth:`truth` then raises an error.
    """

    lowered: Callable[[], Tensor]
    lowered_path: Path | None = None
    lowered_channels: int | None = None
    has_truth: bool = True

    def lowered_image(self) -> Tensor:
        """Return the LQ image ``(lowered_channels, h, w)``, uint8 or float in [0, 1].

        Raises:
            FilterlensError: The file cannot be read.
            UsageError: A tensor is not an image in [0, 1], or has other channels than the network takes.
        """
        name, luma = str(self.lowered_path or self.name), self.y and self.lowered_channels == 1
        return with_channels(name, checked(name, self.lowered()), self.lowered_channels, luma)

    def image(self) -> Tensor:
        """Return the GT image ``(channels, H, W)``, uint8 or float in [0, 1].

        Raises:
            FilterlensError: The file cannot be read.
            UsageError: As for :meth:`lowered_image`, or there is no GT.
        """
        if not self.has_truth:
            raise UsageError(
                f"Pair '{self.name}' has no GT image. Give one, or compare with the target network: objective='target'."
            )
        name, luma = str(self.path or self.name), self.y and self.channels == 1
        return with_channels(name, checked(name, self.read()), self.channels, luma)

    def both(self, scale: int, multiple: int) -> tuple[Tensor | None, Tensor]:
        """Return GT ``(1, C, H, W)`` and LQ ``(1, c, h, w)`` in [0, 1], cut at the right and lower border.

        Args:
            scale: Scale of the network: H = scale · h.
            multiple: Number that H and W are multiples of, itself a multiple of the scale.

        Returns:
            GT, or None where there is none; and LQ.

        Raises:
            FilterlensError: A file cannot be read, or LQ is not GT / scale (GT may have up to scale - 1 rows and
                columns more, which are cut).
            UsageError: As for :meth:`image`, or nothing remains after the cut.
        """
        lowered, truth = self.lowered_image(), self.image() if self.has_truth else None
        height, width = lowered.shape[-2:]
        if truth is not None:
            require_scale(self._sizes(truth, lowered), scale)
            truth = truth[..., : height * scale, : width * scale]
        if multiple % scale:
            raise UsageError(f"multiple = {multiple} is not legal: a multiple of the scale, {scale}.")
        lowered = crop_to_multiple(lowered, multiple // scale)
        if not lowered.numel():
            place, least = _place("LQ", self.lowered_path, self.name), multiple // scale
            raise UsageError(f"{place} of {width}x{height} is smaller than {least} pixels.")
        return None if truth is None else _batch(crop_to_multiple(truth, multiple)), _batch(lowered)

    def _sizes(self, truth: Tensor, lowered: Tensor) -> dict[str, Any]:
        """Return names and sizes as :meth:`provenance` does, of images that were read."""
        (high, wide), (low, narrow) = truth.shape[-2:], lowered.shape[-2:]
        lq = {"path": self.lowered_path, "width": narrow, "height": low}
        return {"name": self.name, "path": self.path, "width": wide, "height": high, "lq": lq}

    def pixels(self) -> int:
        """Return the number of pixels of GT, or of LQ where there is none; a file is not decoded for it."""
        return _pixels(self.path, self.read) if self.has_truth else _pixels(self.lowered_path, self.lowered)

    def fingerprint(self) -> str:
        """Return a hash of the content of both, and of how they are read."""
        truth = _content(self.path, self.read) if self.has_truth else "none"
        content = f"{truth} {_content(self.lowered_path, self.lowered)}"
        return _sha256(f"{content} y".encode() if self.y else content.encode())

    def provenance(self) -> dict[str, Any]:
        """Return name, path, hash and size of the GT image, and those of LQ under ``lq``.

        Without GT, ``width`` and ``height`` are those of LQ, and ``truth`` is False.
        """
        lowered = _described(self.lowered_path, self.lowered_image())
        if not self.has_truth:
            size = {key: lowered[key] for key in ("width", "height")}
            return {"name": self.name, **size, "truth": False, "lq": lowered}
        return {"name": self.name, **_described(self.path, self.image()), "lq": lowered}


def require_scale(pair: Mapping[str, Any], scale: int) -> None:
    """Refuse a pair whose LQ image is not GT / scale, rounded down.

    Args:
        pair: What :meth:`PairedSample.provenance` says of it.
        scale: Scale of the network.

    Raises:
        FilterlensError: With both files, both sizes, and the scale that would fit, if there is one.
    """
    lq = pair["lq"]
    wide, high, narrow, low = pair["width"], pair["height"], lq["width"], lq["height"]
    if pair.get("truth") is False or (high // scale, wide // scale) == (low, narrow):
        return
    fitting = high // low
    fits = fitting and (high // fitting, wide // fitting) == (low, narrow)
    remedy = f"They fit scale {fitting}." if fits else "They fit no scale: give LQ and GT of one scene, uncut."
    if narrow > wide and low > high:
        remedy = "LQ is larger than GT: are they swapped?"
    raise FilterlensError(
        f"{_place('LQ', lq.get('path'), pair['name'])} of {narrow}x{low} is not GT / {scale}: "
        f"{_place('GT', pair.get('path'), pair['name'])} has {wide}x{high}. {remedy}"
    )


def _place(what: str, path: Path | str | None, name: str) -> str:
    return f"{what} of pair '{name}'" if path is None else f"{what} '{path}'"


def _batch(image: Tensor) -> Tensor:
    return image.unsqueeze(0) if image.is_floating_point() else to_float(image)


def _pixels(path: Path | None, read: Callable[[], Tensor]) -> int:
    if path is not None:
        width, height = image_size(path)
        return width * height
    height, width = read().shape[-2:]
    return height * width


def _content(path: Path | None, read: Callable[[], Tensor]) -> str:
    if path is not None:
        return sha256_of(path)
    image = read().detach().cpu().contiguous()
    return _sha256(f"{image.dtype}{tuple(image.shape)}".encode() + image.numpy().tobytes())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _described(path: Path | None, image: Tensor) -> dict[str, Any]:
    height, width = image.shape[-2:]
    origin = {} if path is None else {"path": str(path), "sha256": sha256_of(path)}
    return {**origin, "width": width, "height": height}


@dataclass(frozen=True)
class Reading:
    """Function that reads a file or a PIL image.

    Attributes:
        source: The file, or the PIL image.
        name: Name of a PIL image in errors.
        opacity: Whether opacity is a fourth channel.
    """

    source: Path | PIL.Image.Image
    name: str
    opacity: bool = False

    def __call__(self) -> Tensor:
        """Return RGB ``(3, H, W)`` uint8, or ``(4, H, W)``."""
        if isinstance(self.source, Path):
            return read_image(self.source, opacity=self.opacity)
        return of_pillow(self.source, self.name, opacity=self.opacity)


Image = Path | str | Tensor | npt.NDArray[Any] | PIL.Image.Image | Sample
Images = Image | Iterable[Any] | Mapping[str, Any] | Dataset[Any]


def as_samples(images: Images, note: Note = silent, *, channels: int = 3, y: bool = False) -> list[Sample]:
    """Accept images in every form people hold.

    A folder, a file, a tensor ``(C, H, W)``, ``(B, C, H, W)`` or gray ``(H, W)``, a NumPy array (its channels first or
    last), a PIL image, a sample; any iterable of them, a ``Dataset`` or a ``DataLoader``, also of tuples
    ``(image, label)`` and of mappings with ``gt``, ``hq``, ``hr``, ``image`` or ``img``; or a mapping name → any of
    them. What can be seen only once (a dataset, a loader, a generator) is run through once, and its pixels are kept in
    a temporary file.

    Args:
        images: The images; those in memory are checked at once: uint8, 16-bit integers, or floats in [0, 1].
        note: Receiver of one line when values that a resampler left a little outside [0, 1] were clipped.
        channels: Number of channels that the network takes: gray becomes 3 equal channels, 3 equal channels become
            gray; with 4, opacity is the fourth.
        y: Take the luma of every image (:func:`filterlens.pixels.luma`), for a network of one channel.

    Raises:
        FilterlensError: A folder is missing or empty.
        UsageError: The images come in an unknown form, a tensor is no image or has other channels, or there are no
            images.
    """
    require_channels(channels, y)
    how = Taking(note, channels, y)
    if isinstance(images, Mapping):
        if {"lq", "gt"} <= set(images):
            raise UsageError(
                "A mapping with 'lq' and 'gt' is a pair, not images. Give it with pairs=, or its 'gt' alone."
            )
        samples = [sample for key, value in images.items() for sample in _of_key(str(key), value, how)]
    else:
        samples = list(_of_any(images, how))
    if not samples:
        raise UsageError("There are no images.")
    return samples


@dataclass(frozen=True)
class Taking:
    """How images are taken: for notes, the network's channels, luma, and where the pixels of a stream are kept."""

    note: Note
    channels: int
    y: bool
    spool: Spool | None = None

    @property
    def opacity(self) -> bool:
        """Whether opacity is a fourth channel."""
        return self.channels == WITH_OPACITY

    def file(self, path: Path) -> Sample:
        """Return the sample of a file, which is not read yet."""
        return Sample(path.stem, Reading(path, path.stem, self.opacity), path, self.channels, self.y)

    def pillow(self, name: str, image: PIL.Image.Image) -> Sample:
        """Return the sample of a PIL image."""
        sample = Sample(name, Reading(image, name, self.opacity), None, self.channels, self.y)
        sample.image()  # says at once what is wrong with it
        return sample

    def kept(self, name: str, image: Tensor) -> Sample:
        """Return the sample of an image in memory; that of a stream goes to the spool."""
        with_channels(name, image, self.channels, self.y)  # says at once what is wrong with it
        read = (lambda: image) if self.spool is None else self.spool.keep(image)
        return Sample(name, read, None, self.channels, self.y)

    def again(self, sample: Sample) -> Sample:
        """Return a sample for these channels; a pair knows its own, and luma stays luma."""
        if isinstance(sample, PairedSample):
            return sample
        read = replace(sample.read, opacity=self.opacity) if isinstance(sample.read, Reading) else sample.read
        y = self.y or (sample.y and self.channels == 1)
        return replace(sample, read=read, channels=self.channels, y=y)


def _of_any(images: Any, how: Taking) -> Iterator[Sample]:
    """Yield the samples of images that have no key."""
    if isinstance(images, str | Path):
        yield from (how.file(path) for path in find_images(images).images)
    elif is_in_memory(images) or isinstance(images, Sample):
        yield from samples_of("0", images, how, start=0)
    elif (items := items_of(images)) is not None:
        seen_once = not isinstance(images, list | tuple)
        yield from _of_items(items, replace(how, spool=Spool()) if seen_once else how)
    else:
        raise UsageError(
            f"Images come as a folder, {FORMS}, as a sequence of them, a Dataset or a DataLoader, not as "
            f"{type(images).__name__}."
        )


def _of_items(items: Iterable[Any], how: Taking) -> Iterator[Sample]:
    number = 0
    for item in items:
        value, paths = image_of_item(str(number), item)
        for sample in samples_of(str(number), value, how, start=number, paths=paths):
            yield sample
            number += 1


def _of_key(key: str, value: Any, how: Taking) -> Iterator[Sample]:
    """Yield the samples of a mapping's value: named after its key, and after their own names where they are several."""
    if is_in_memory(value):
        yield from samples_of(key, value, how)
        return
    one = isinstance(value, str | Path | Sample | Mapping) or items_of(value) is None
    found = list(samples_of(key, image_of_item(key, value)[0], how) if one else _of_any(value, how))
    for sample in found:
        yield replace(sample, name=key if len(found) == 1 else f"{key}-{sample.name}")


def samples_of(
    name: str, value: Any, how: Taking, *, start: int | None = None, paths: Sequence[str] = ()
) -> Iterator[Sample]:
    """Yield the samples of one image, one batch or one path; those of a batch are named by their files, if known."""
    if isinstance(value, Sample):
        yield how.again(value)
    elif isinstance(value, str | Path):
        require_local(value)
        path = Path(value)
        yield from (how.file(each) for each in (find_images(path).images if path.is_dir() else (path,)))
    elif isinstance(value, PIL.Image.Image) and how.spool is None:
        yield how.pillow(name, value)
    elif is_in_memory(value):
        images = images_of(name, value, how.note, channels=how.channels, start=start)
        named = len(paths) == len(images)
        for index, (each, image) in enumerate(images):
            yield how.kept(Path(paths[index]).stem if named else each, image)
    else:
        raise UsageError(f"Image '{name}' is {type(value).__name__}. Give {FORMS}.")


def items_of(images: Any) -> Iterable[Any] | None:
    """Return what an iterable or a dataset holds, one after the other; None where it is neither."""
    if isinstance(images, Iterable) and not isinstance(images, str | bytes):
        return images
    if all(hasattr(images, each) for each in ("__getitem__", "__len__")) and not isinstance(images, str | bytes | type):
        return (images[index] for index in range(len(images)))
    return None
