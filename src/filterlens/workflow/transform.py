# SPDX-License-Identifier: Apache-2.0
"""Jobs that turn one folder of images into another: degrade and restore."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from filterlens.ahead import ahead
from filterlens.data.images import crop_to_multiple, list_images, read_image, to_float, to_uint8, write_image
from filterlens.degradations import Degradation, parse_degradations
from filterlens.errors import FilterlensError, UsageError
from filterlens.progress import SILENT, Progress
from filterlens.workflow.restore import Restorer


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
            return degradation.apply(truth, scale, seed=seed, resampler=resampler)

        written += _each_image(source, folder, lower, f"degrade {name}", force, progress)
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
    force: bool = False,
    progress: Progress = SILENT,
) -> Restored:
    """Restore every image of a folder, of any size, to PNG with a network that maps RGB in [0, 1] to RGB.

    Args:
        source: A folder of LR images, or one image.
        output: Where the HR images go.
        network: Any module ``(1, 3, H, W)`` → ``(1, 3, H·s, W·s)``.
        device: Where to compute.
        precision: ``fp32`` or ``bf16``.
        tile: Side of the largest tile in LR pixels; see :class:`filterlens.workflow.restore.Restorer`.
        force: Overwrite.
        progress: Where the bar goes.

    Raises:
        FilterlensError: A file cannot be read or written, exists already, or memory ran out.
        UsageError: The tile is not legal, or smaller than what one output of the network sees.
    """
    restorer = Restorer(network, device, precision=precision, tile=tile, note=progress.note)
    files = _each_image(source, output, lambda image: restorer(to_float(image)), "restore", force, progress)
    return Restored(files, restorer.megapixels, restorer.seconds)


def _each_image(
    source: Path, output: Path, change: Callable[[Tensor], Tensor], title: str, force: bool, progress: Progress
) -> list[Path]:
    paths, others = list_images(source)
    if others:
        progress.note(
            f"no images, left alone: {', '.join(path.name for path in others[:5])}{' …' if len(others) > 5 else ''}"
        )
    if output.resolve() == (source if source.is_dir() else source.parent).resolve():
        raise UsageError(f"Input and output are both '{output}'. Give another output folder.")
    targets = [output / f"{path.stem}.png" for path in paths]
    existing = [target for target in targets if target.exists()]
    if existing and not force:
        raise FilterlensError(f"'{existing[0]}' exists already. Give another output folder, or --force to overwrite.")
    with progress.bar(title, len(paths)) as bar, ThreadPoolExecutor(1) as pool:
        writing: Future[None] | None = None
        for target, (path, image) in zip(targets, ahead(paths, read_image), strict=True):
            bar.describe(f"{title}, {path.name}")
            changed = to_uint8(change(image))
            if writing is not None:
                writing.result()
            writing = pool.submit(write_image, target, changed)
            bar.advance()
        if writing is not None:
            writing.result()
    return targets
