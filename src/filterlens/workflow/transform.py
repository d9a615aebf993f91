# SPDX-License-Identifier: Apache-2.0
"""Jobs that turn one folder of images into another: degrade and restore."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from filterlens.ahead import ahead
from filterlens.data.images import (
    crop_to_multiple,
    list_images,
    pixel_limit,
    read_image,
    to_float,
    to_uint8,
    write_image,
)
from filterlens.data.pictures import PNG, WEBP, Picture, read_picture, write_picture
from filterlens.degradations import Degradation, parse_degradations
from filterlens.errors import FilterlensError, UsageError
from filterlens.progress import SILENT, Progress
from filterlens.workflow.restore import Restorer

Item = TypeVar("Item")


def degrade_folder(
    source: Path,
    output: Path,
    degradations: Sequence[str],
    *,
    scale: int = 2,
    resampler: str = "bicubic",
    seed: int = 0,
    force: bool = False,
    progress: Progress = SILENT,
) -> list[Path]:
    """Degrade every image of a folder to PNG; several degradations go to one subfolder each.

    Args:
        source: A folder of HR images, or one image.
        output: Where the LR images go.
        degradations: For example ``["blur:2+noise:0.1"]``.
        scale: Down-sampling factor; images are cut to a multiple of it.
        resampler: ``bicubic`` or ``bilinear``.
        seed: Of the noise, together with the image's content.
        force: Overwrite.
        progress: Where the bar goes.

    Returns:
        The files written.
    """
    if scale not in (1, 2, 3, 4):
        raise UsageError(f"Scale {scale} is not legal: 1, 2, 3 or 4.")
    chosen = parse_degradations(degradations)
    written: list[Path] = []
    for name, degradation in chosen.items():
        folder = output / name if len(chosen) > 1 else output

        def lower(image: Tensor, degradation: Degradation = degradation) -> Tensor:
            truth = to_float(crop_to_multiple(image, scale))
            return to_uint8(degradation.apply(truth, scale, seed=seed, resampler=resampler))

        paths = _listed(source, progress)
        targets = [folder / f"{path.stem}{PNG}" for path in paths]
        _check_output(source, folder, targets, force)
        _each_image(paths, targets, read_image, lower, write_image, f"degrade {name}", progress)
        written += targets
    return written


@dataclass(frozen=True)
class Restored:
    """What became of a folder.

    Attributes:
        files: The images written.
        megapixels: Millions of HR pixels in them.
        seconds: Network time: from LR images in memory to HR images in memory, without reading and writing files.
    """

    files: list[Path]
    megapixels: float
    seconds: float

    @property
    def megapixels_per_second(self) -> float:
        """Throughput in HR megapixels per second of network time."""
        return self.megapixels / self.seconds


def restore_folder(
    source: Path,
    output: Path,
    network: nn.Module,
    *,
    device: torch.device,
    precision: str = "fp32",
    tile: int | None = None,
    blend: int = 0,
    most_pixels: float | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> Restored:
    """Restore every image of a folder, of any size, with a network that maps RGB in [0, 1] to RGB.

    PNGs stay PNGs and WebPs WebPs (without loss), whatever else becomes a PNG. 16 bits, gray, transparency (enlarged),
    colour profiles and metadata are kept.

    Args:
        source: A folder of LR images, or one image.
        output: Folder of the HR images; for one image also a file that ends in .png or .webp.
        network: Any module ``(1, 3, H, W)`` → ``(1, 3, H·s, W·s)``.
        device: Where to compute.
        precision: ``fp32`` or ``bf16``.
        tile: Side of the largest tile in LR pixels; see :class:`filterlens.workflow.restore.Restorer`.
        blend: LR pixels of the seams for networks without exact tiles; 0 runs them whole.
        most_pixels: Larger images are refused; by default those above Pillow's limit, 179 million pixels.
        force: Overwrite.
        progress: Where the bar goes.

    Raises:
        FilterlensError: A file cannot be read or written, exists already, is suspiciously large, or memory ran out.
        UsageError: The tile is not legal, or smaller than what one output of the network sees.
    """
    restorer = Restorer(network, device, precision=precision, tile=tile, blend=blend, note=progress.note)

    def read(path: Path) -> Picture:
        picture = read_picture(path)
        if picture.frames > 1:
            progress.note(f"'{path.name}' holds {picture.frames} frames: only the first one is restored")
        return picture

    def restore(picture: Picture) -> Picture:
        return picture.restored(restorer(picture.colours))

    paths = _listed(source, progress)
    targets = _restored_names(source, output, paths)
    _check_output(source, output, targets, force)
    with pixel_limit(most_pixels):
        _each_image(paths, targets, read, restore, write_picture, "restore", progress)
    return Restored(targets, restorer.megapixels, restorer.seconds)


def _restored_names(source: Path, output: Path, paths: Sequence[Path]) -> list[Path]:
    """Say where each image goes; an output that is called like an image is the file of the only one."""
    if source.is_file() and output.suffix.lower() in (PNG, WEBP) and not output.is_dir():
        return [output]
    return [output / f"{path.stem}{WEBP if path.suffix.lower() == WEBP else PNG}" for path in paths]


def _listed(source: Path, progress: Progress) -> list[Path]:
    paths, others = list_images(source)
    if others:
        progress.note(
            f"no images, left alone: {', '.join(path.name for path in others[:5])}{' …' if len(others) > 5 else ''}"
        )
    return paths


def _check_output(source: Path, output: Path, targets: Sequence[Path], force: bool) -> None:
    """Refuse to write over an input or among many, and over what exists unless forced."""
    is_file = list(targets) == [output]
    if output.resolve() == (source if source.is_dir() or is_file else source.parent).resolve():
        raise UsageError(f"Input and output are both '{output}'. Give another output.")
    existing = [target for target in targets if target.exists()]
    if existing and not force:
        raise FilterlensError(f"'{existing[0]}' exists already. Give another output, or --force to overwrite.")


def _each_image(
    paths: Sequence[Path],
    targets: Sequence[Path],
    read: Callable[[Path], Item],
    change: Callable[[Item], Item],
    write: Callable[[Path, Item], None],
    title: str,
    progress: Progress,
) -> None:
    """Read ahead, change, and write behind."""
    with progress.bar(title, len(paths)) as bar, ThreadPoolExecutor(1) as pool:
        writing: Future[None] | None = None
        for target, (path, image) in zip(targets, ahead(paths, read), strict=True):
            bar.describe(f"{title}, {path.name}")
            changed = change(image)
            if writing is not None:
                writing.result()
            writing = pool.submit(write, target, changed)
            bar.advance()
        if writing is not None:
            writing.result()
