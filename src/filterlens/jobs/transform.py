# SPDX-License-Identifier: Apache-2.0
"""Jobs that turn one folder of images into another: degrade and restore."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from filterlens.ahead import ahead
from filterlens.data.images import crop_to_multiple, pixel_limit, read_image, to_float, to_uint8
from filterlens.data.listing import find_images, shown
from filterlens.data.memory import READING
from filterlens.data.pictures import WEBP, Picture, check_writable, read_picture, write_picture
from filterlens.data.usable import LeftOut, failure_of
from filterlens.degradations import Degradation, parse_degradations
from filterlens.errors import FilterlensError, UsageError, first_line
from filterlens.execution.memory import is_out_of_memory
from filterlens.execution.tiled_network import TiledNetwork
from filterlens.files import sha256_of
from filterlens.jobs.fingerprint import network_fingerprint
from filterlens.jobs.outputs import Outputs, Plan, Rules, Task, names_a_file, tasks_of
from filterlens.progress import SILENT, Bar, Progress

Item = TypeVar("Item")
_WRITING = 20.0  # bytes a pixel of an output: in float32, as levels, and as Pillow packs them


@dataclass(frozen=True)
class Batch:
    """What became of a folder.

    Attributes:
        files: The results, in the order of the images; those of earlier runs included.
        kept: Those among them that were there already.
        failures: The images without a result.
    """

    files: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    failures: list[LeftOut] = field(default_factory=list)


@dataclass(frozen=True)
class Restored(Batch):
    """What became of a folder of LR images.

    Attributes:
        megapixels: Millions of HR pixels computed in this run.
        seconds: Network time: from LR images in memory to HR images in memory, without reading and writing files.
    """

    megapixels: float = 0.0
    seconds: float = 0.0

    @property
    def megapixels_per_second(self) -> float:
        """Throughput in HR megapixels per second of network time."""
        return self.megapixels / self.seconds if self.seconds else 0.0


def degrade_folder(
    source: Path,
    output: Path,
    degradations: Sequence[str],
    *,
    scale: int = 2,
    resampler: str = "bicubic",
    seed: int = 0,
    force: bool = False,
    skip_existing: bool = False,
    strict: bool = False,
    recursive: bool = False,
    progress: Progress = SILENT,
) -> Batch:
    """Degrade every image of a folder to PNG; several degradations go to one subfolder each.

    Results that the same settings made of the same image are kept; see :class:`filterlens.jobs.outputs.Outputs`.

    Args:
        source: A folder of HR images, or one image.
        output: Where the LR images go; of one image and one degradation also a file.
        degradations: For example ``["blur:2+noise:0.1"]``.
        scale: Down-sampling factor; images are cut to a multiple of it.
        resampler: ``bicubic`` or ``bilinear``.
        seed: Of the noise, together with the image's content.
        force: Overwrite.
        skip_existing: Keep what exists, whatever made it.
        strict: Stop at the first image that cannot be used.
        recursive: Also the images of subfolders; the output mirrors them.
        progress: Where bars and notes go.

    Raises:
        FilterlensError: A file is in the way, a folder cannot be written, or (strict) an image cannot be used.
    """
    if scale not in (1, 2, 3, 4):
        raise UsageError(f"Scale {scale} is not legal: 1, 2, 3 or 4.")
    chosen, rules = parse_degradations(degradations), Rules(force, skip_existing)
    if len(chosen) > 1 and names_a_file(output):
        raise UsageError(
            f"'{output}' is called like one image, but there are {len(chosen)} degradations. Give a folder."
        )
    listing = find_images(source, recursive=recursive, leave_out=output)
    _tell(listing.notes, progress)
    jobs: list[tuple[str, Degradation, Outputs, list[Task], Plan]] = []
    for name, degradation in chosen.items():
        folder = output / name if len(chosen) > 1 else output
        tasks, is_file = tasks_of(listing, source, folder, {})
        settings = {"degradation": str(degradation), "scale": scale, "resampler": resampler, "seed": seed}
        outputs = Outputs(folder.parent if is_file else folder, "degrade", settings, rules, is_file)
        jobs.append((name, degradation, outputs, tasks, outputs.plan(tasks)))
    done = Batch()
    for name, degradation, outputs, tasks, plan in jobs:

        def lower(image: Tensor, task: Task, degradation: Degradation = degradation) -> Picture:
            truth = to_float(crop_to_multiple(image, scale))
            if not truth.numel():
                raise FilterlensError(
                    f"Image '{task.source}' of {image.shape[2]}x{image.shape[1]} is smaller than {scale} pixels."
                )
            low = degradation.apply(truth, scale, seed=seed, resampler=resampler)
            return Picture(to_float(to_uint8(low)))

        failures = _each_image(
            plan, outputs, lambda path: read_image(path, progress.note), lower, f"degrade {name}", progress, strict
        )
        _add(done, tasks, plan, failures)
    return done


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
    skip_existing: bool = False,
    strict: bool = False,
    recursive: bool = False,
    progress: Progress = SILENT,
) -> Restored:
    """Restore every image of a folder, of any size, with a network that maps RGB in [0, 1] to RGB.

    PNGs stay PNGs and WebPs WebPs (without loss), whatever else becomes a PNG. 16 bits, gray, transparency (enlarged),
    colour profiles and metadata are kept. Results that the same network and settings made of the same image are kept;
    see :class:`filterlens.jobs.outputs.Outputs`.

    Args:
        source: A folder of LR images, or one image.
        output: Folder of the HR images; for one image also a file, see :data:`filterlens.data.pictures.WRITTEN`.
        network: Any module ``(1, 3, H, W)`` → ``(1, 3, H·s, W·s)``.
        device: Where to compute.
        precision: ``fp32`` or ``bf16``.
        tile: Side of the largest tile in LR pixels; see :class:`filterlens.execution.tiled_network.TiledNetwork`.
        blend: LR pixels of the seams for networks without exact tiles; 0 runs them whole.
        most_pixels: Larger images are refused, and others are tried whatever memory is free; by default images above
            Pillow's limit of 179 million pixels are refused, and those for which memory does not suffice.
        force: Overwrite.
        skip_existing: Keep what exists, whatever made it.
        strict: Stop at the first image that cannot be used.
        recursive: Also the images of subfolders; the output mirrors them.
        progress: Where bars and notes go.

    Raises:
        FilterlensError: A file is in the way, a folder cannot be written, or (strict) an image cannot be used.
        UsageError: The tile is not legal, or smaller than what one output of the network sees.
    """
    tiled = TiledNetwork(network, device, precision=precision, tile=tile, blend=blend, note=progress.note)
    settings = {"network": network_fingerprint(network), "precision": precision, "blend": blend}
    settings |= {"tile": tile} if blend else {}
    listing = find_images(source, recursive=recursive, leave_out=output)
    _tell(listing.notes, progress)
    tasks, is_file = tasks_of(listing, source, output, {WEBP: WEBP})
    rules = Rules(force, skip_existing)
    outputs = Outputs(output.parent if is_file else output, "restore", settings, rules, is_file)

    scale = _scale_of(tiled)

    def read(path: Path) -> Picture:
        picture = read_picture(
            path,
            progress.note,
            bytes_per_pixel=0 if most_pixels else READING + _WRITING * scale**2,
            remedy=", or --max-megapixels to try it anyway",
        )
        if picture.frames > 1:
            progress.note(f"'{shown(path.name)}' holds {picture.frames} frames: only the first one is restored")
        return picture

    def restore(picture: Picture, task: Task) -> Picture:
        restored = picture.restored(_finite(_run(tiled, picture.seen, task.source), task.source))
        check_writable(task.target, restored)
        return restored

    with pixel_limit(most_pixels):
        plan = outputs.plan(tasks)
        done = Batch()
        _add(done, tasks, plan, _each_image(plan, outputs, read, restore, "restore", progress, strict))
    return Restored(done.files, done.kept, done.failures, tiled.megapixels, tiled.seconds)


def _scale_of(tiled: TiledNetwork) -> int:
    """Return the scale, for the estimate of memory alone; 1 where the network refuses to be asked."""
    try:
        return tiled.scale
    except Exception:
        return 1


def _run(tiled: TiledNetwork, image: Tensor, path: Path) -> Tensor:
    """Run the network; whatever it says of this image becomes an error that names it."""
    height, width = image.shape[-2:]
    try:
        output = tiled(image).float()
    except UsageError:
        raise
    except FilterlensError as error:
        raise FilterlensError(f"'{path}': {error}") from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise FilterlensError(
            f"The network cannot run on '{path}' of {width}x{height} pixels ({type(error).__name__}: "
            f"{first_line(error)}). Is it too small, or no multiple of what the network reduces by?"
        ) from error
    if output.ndim != 4 or output.shape[:2] != (1, 3):
        raise FilterlensError(
            f"The network made {tuple(output.shape)} of '{path}', which is no picture (1, 3, height, width)."
        )
    return output


def _finite(output: Tensor, path: Path) -> Tensor:
    bad = output.numel() - int(torch.isfinite(output).sum())
    if bad:
        raise FilterlensError(
            f"The network gave NaN or infinity for {100 * bad / output.numel():.3g} % of the values of '{path}', so "
            "nothing is written for it. Try --precision fp32, a lower --strength, or another checkpoint."
        )
    return output


def _tell(notes: Sequence[str], progress: Progress) -> None:
    for note in notes:
        progress.note(note)


def _add(done: Batch, tasks: Sequence[Task], plan: Plan, failures: Sequence[LeftOut]) -> None:
    bad = {failure.path for failure in failures}
    done.files.extend(task.target for task in tasks if str(task.source) not in bad)
    done.kept.extend(task.target for task in plan.kept)
    known = {failure.path for failure in done.failures}
    done.failures.extend(failure for failure in failures if failure.path not in known)


@dataclass(frozen=True)
class _Prepared(Generic[Item]):
    """An image that was read, with the hash of its file; or why it was not."""

    item: Item | None = None
    digest: str = ""
    error: FilterlensError | None = None


def _each_image(
    plan: Plan,
    outputs: Outputs,
    read: Callable[[Path], Item],
    change: Callable[[Item, Task], Picture],
    title: str,
    progress: Progress,
    strict: bool,
) -> list[LeftOut]:
    """Read ahead, change, and write behind; an image that cannot be used stops nothing, unless strict."""
    failures: list[LeftOut] = []

    def prepare(task: Task) -> _Prepared[Item]:
        try:
            return _Prepared(read(task.source), sha256_of(task.source))
        except Exception as error:
            return _Prepared(error=failure_of(error, task.source))

    def fail(task: Task, error: FilterlensError) -> None:
        if strict or isinstance(error, UsageError):
            raise error
        failures.append(LeftOut(task.source.name, str(error), str(task.source)))

    def write(task: Task, picture: Picture, digest: str) -> None:
        with outputs.writing(task, digest):
            write_picture(task.target, picture, progress.note)

    if plan.kept:
        progress.note(f"{len(plan.kept)} of {len(plan.kept) + len(plan.todo)} images are done already")
    with progress.bar(title, len(plan.todo)) as bar, ThreadPoolExecutor(1) as pool:
        behind = _Behind(fail, bar)
        for task, prepared in ahead(plan.todo, prepare):
            bar.describe(f"{title}, {shown(task.source.name)}")
            try:
                if prepared.error is not None:
                    raise prepared.error
                assert prepared.item is not None
                changed = change(prepared.item, task)
            except Exception as error:
                behind.finish()
                fail(task, failure_of(error, task.source))
                bar.advance()
                continue
            behind.finish()
            behind.start(task, pool.submit(write, task, changed, prepared.digest))
        behind.finish()
    return failures


class _Behind:
    """The one image that is being written while the next is computed."""

    def __init__(self, fail: Callable[[Task, FilterlensError], None], bar: Bar) -> None:
        self._fail, self._bar = fail, bar
        self._current: tuple[Task, Future[None]] | None = None

    def start(self, task: Task, future: Future[None]) -> None:
        self._current = (task, future)

    def finish(self) -> None:
        """Wait for it. What concerns this image alone is a failure of it; a full disk ends the job."""
        if self._current is None:
            return
        (task, future), self._current = self._current, None
        try:
            future.result()
        except Exception as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno is not None:
                raise
            self._fail(task, failure_of(error, task.source))
        self._bar.advance()
