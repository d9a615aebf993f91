# SPDX-License-Identifier: Apache-2.0
"""The degradation job: a folder of images in, low-resolution images out."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from filterlens.data.images import crop_to_multiple, read_image, to_float, to_uint8
from filterlens.data.pictures import Picture
from filterlens.degradations import Degradation, parse_degradations
from filterlens.errors import FilterlensError, UsageError
from filterlens.jobs.image_folder import USUAL, Conversion, Converted, Rules, Task, convert_folder, names_a_file
from filterlens.progress import SILENT, Progress


def degrade_folder(
    source: Path,
    output: Path,
    degradations: Sequence[str],
    *,
    scale: int = 2,
    resampler: str = "bicubic",
    seed: int = 0,
    rules: Rules = USUAL,
    progress: Progress = SILENT,
) -> Converted:
    """Degrade every image of a folder to PNG; several degradations go to one subfolder each.

    Results that the same settings made of the same image are kept; see :class:`filterlens.jobs.image_folder.Outputs`.

    Args:
        source: A folder of HR images, or one image.
        output: Folder of the LR images; for one image and one degradation also a file.
        degradations: For example ``["blur:2+noise:0.1"]``.
        scale: Down-sampling factor; images are cut to a multiple of it.
        resampler: ``bicubic`` or ``bilinear``.
        seed: Seed of the noise, which also depends on the image's content.
        rules: Treatment of existing files, bad images and subfolders.
        progress: Receiver of bars and notes.

    Raises:
        FilterlensError: A file is in the way, a folder cannot be written, or (strict) an image cannot be used.
    """
    if scale not in (1, 2, 3, 4):
        raise UsageError(f"Scale {scale} is not legal: 1, 2, 3 or 4.")
    chosen = parse_degradations(degradations)
    if len(chosen) > 1 and names_a_file(output):
        raise UsageError(
            f"'{output}' is called like one image, but there are {len(chosen)} degradations. Give a folder."
        )

    def conversion(name: str, degradation: Degradation) -> Conversion[Tensor]:
        def lower(image: Tensor, task: Task) -> Picture:
            truth = to_float(crop_to_multiple(image, scale))
            if not truth.numel():
                raise FilterlensError(
                    f"Image '{task.source}' of {image.shape[2]}x{image.shape[1]} is smaller than {scale} pixels."
                )
            low = degradation.apply(truth, scale, seed=seed, resampler=resampler)
            return Picture(to_float(to_uint8(low)))

        return Conversion(
            f"degrade {name}",
            output / name if len(chosen) > 1 else output,
            {"degradation": str(degradation), "scale": scale, "resampler": resampler, "seed": seed},
            lambda path: read_image(path, progress.note),
            lower,
        )

    conversions = [conversion(name, degradation) for name, degradation in chosen.items()]
    return convert_folder(source, output, "degrade", conversions, rules, progress)
