# SPDX-License-Identifier: Apache-2.0
"""The restoration job: a folder of low-resolution images and a network in, restored images out."""

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from filterlens.attribution.result import load_attributions
from filterlens.data.images import READING, pixel_limit
from filterlens.data.listing import shown
from filterlens.data.pictures import WEBP, Picture, check_writable, read_picture
from filterlens.editing.dial import modulate
from filterlens.errors import FilterlensError, UsageError, first_line, unknown
from filterlens.execution.memory import is_out_of_memory
from filterlens.execution.tiled_network import TiledNetwork
from filterlens.files import sha256_of
from filterlens.jobs.image_folder import USUAL, Conversion, Converted, Rules, Task, convert_folder
from filterlens.jobs.pairs import AS_IT_LAY, RunPair
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Note, Progress, silent
from filterlens.run.folder import SCORES

_WRITING = 20.0  # bytes a pixel of an output: in float32, as levels, and as Pillow packs them
_LIBRARIES = ("torch", "filterlens")
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class NetworkChoice:
    """Which network runs: one of a pair, a lone checkpoint, a target with filters put back, or a base with adapters.

    Attributes:
        pair: Name of a shipped pair; ``srresnet-x2`` where nothing is named.
        model: One checkpoint.
        network: ``target`` or ``baseline`` of the pair.
        run: A run folder, whose pair is used.
        without: Degradation whose top filters are dialled to ``strength``; needs ``run``.
        percent: Share of the filters that ``without`` replaces.
        strength: 0 replaces them by the baseline's, 1 leaves the target.
        base: The network that adapters are dialled into.
        adapters: The adapters as files, each with or without ``=strength``.
        any_base: Take a base of another hash, with a warning.
        reopening: New paths of the run's checkpoints and the user's own code; its architecture is also that of
            ``model`` or ``base`` (see :func:`filterlens.models.checkpoints.load_network`).

    Raises:
        UsageError: The options contradict each other or name something unknown.
    """

    pair: str | None = None
    model: Path | None = None
    network: str = "target"
    run: Path | None = None
    without: str | None = None
    percent: float = 1.0
    strength: float = 0.0
    reopening: RunPair = AS_IT_LAY
    base: str | None = None
    adapters: Sequence[str] = ()
    any_base: bool = False

    def __post_init__(self) -> None:
        if sum(choice is not None for choice in (self.pair, self.model, self.run)) > 1:
            raise UsageError("Give one of --pair, --model and --run.")
        if self.base is None and (self.adapters or self.any_base):
            raise UsageError("--adapter needs --base: the network that it was taken from, or its target.")
        if self.base is not None and (self.pair or self.model or self.run or self.without or self.network != "target"):
            raise UsageError("--base names the network: leave --pair, --model, --network, --run and --without out.")
        if self.reopening.is_moved and self.run is None:
            raise UsageError("--baseline and --target say where the checkpoints of --run lie now: give --run too.")
        if self.reopening.architecture is not None and self.base is None and self.model is None and self.run is None:
            raise UsageError("--architecture says what --base, --model or --run is of: give one of them.")
        if self.network not in ("target", "baseline"):
            raise unknown("network", self.network, ("target", "baseline"))
        if self.without is not None and self.run is None:
            raise UsageError("--without needs --run RUN: the ranking says which filters to replace.")

    def open(self, note: Note = silent) -> nn.Module:
        """Load the network.

        Args:
            note: Told in one line what a user should know of the adapters.
        """
        if self.base is not None:
            from filterlens.jobs.adapter import adapted_network

            return adapted_network(
                self.base, self.adapters, architecture=self.reopening.architecture, any_base=self.any_base, note=note
            )
        if self.model is not None:
            from filterlens.models.checkpoints import load_network

            return load_network(self.model, self.reopening.architecture).network
        if self.run is None:
            pair = ModelPair.pretrained(self.pair or "srresnet-x2")
        else:
            pair = self.reopening.open(self.run)
            if self.without is not None:
                ranking = next(iter(load_attributions(self.run / SCORES).values()))
                return modulate(pair, ranking.select(self.without, self.percent), self.strength)
        return pair.network(getattr(pair, self.network))


@dataclass(frozen=True)
class Restored(Converted):
    """The result of restoring a folder of LR images.

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
    rules: Rules = USUAL,
    progress: Progress = SILENT,
) -> Restored:
    """Restore every image of a folder, of any size, with a network that maps RGB in [0, 1] to RGB.

    PNGs stay PNGs and WebPs WebPs (without loss), whatever else becomes a PNG. 16 bits, gray, transparency (enlarged),
    colour profiles and metadata are kept. Results that the same network and settings made of the same image are kept;
    see :class:`filterlens.jobs.image_folder.Outputs`.

    Args:
        source: A folder of LR images, or one image.
        output: Folder of the HR images; for one image also a file, see :data:`filterlens.data.pictures.WRITTEN`.
        network: Any module ``(1, 3, H, W)`` → ``(1, 3, H·s, W·s)``.
        device: Device to compute on.
        precision: ``fp32`` or ``bf16``.
        tile: Side of the largest tile in LR pixels; see :class:`filterlens.execution.tiled_network.TiledNetwork`.
        blend: LR pixels of the seams for networks without exact tiles; 0 runs them whole.
        most_pixels: Larger images are refused, and others are tried whatever memory is free; by default images above
            Pillow's limit of 179 million pixels are refused, and those for which memory does not suffice.
        rules: Treatment of existing files, bad images and subfolders.
        progress: Receiver of bars and notes.

    Raises:
        FilterlensError: A file is in the way, a folder cannot be written, or (strict) an image cannot be used.
        UsageError: The tile is not legal, or smaller than what one output of the network sees.
    """
    tiled = TiledNetwork(network, device, precision=precision, tile=tile, blend=blend, note=progress.note)
    settings = {"network": network_fingerprint(network), "precision": precision, "blend": blend}
    settings |= {"tile": tile} if blend else {}
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

    conversion = Conversion("restore", output, settings, read, restore, {WEBP: WEBP})
    with pixel_limit(most_pixels):
        done = convert_folder(source, output, "restore", [conversion], rules, progress)
    return Restored(done.files, done.kept, done.failures, tiled.megapixels, tiled.seconds)


def network_fingerprint(network: nn.Module) -> str:
    """Return a SHA-256 that changes with the results of a network: 64 hexadecimal digits.

    It covers parameters and buffers, the modules with their plain attributes, and the source files of modules that are
    neither PyTorch's nor filterlens's.
    """
    digest = hashlib.sha256()
    for name, values in sorted(network.state_dict().items()):
        if isinstance(values, torch.Tensor):
            plain = values.detach().cpu().contiguous()
            digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
            digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    for name, module in network.named_modules():
        digest.update(f"{name} {type(module).__qualname__} {module.extra_repr()} {_settings(module)}\n".encode())
    for source in sorted({_source(type(module)) for module in network.modules()}):
        digest.update(source.encode())
    return digest.hexdigest()


def _settings(module: nn.Module) -> list[tuple[str, object]]:
    plain = {name: value for name, value in vars(module).items() if isinstance(value, (*_PLAIN, tuple))}
    return sorted(
        (name, repr(value)) for name, value in plain.items() if name != "training" and "0x" not in repr(value)
    )


def _source(kind: type) -> str:
    """Return the hash of the file that defines a class of the user's; empty for libraries and lost sources."""
    if kind.__module__.split(".")[0] in _LIBRARIES:
        return ""
    try:
        return sha256_of(Path(inspect.getfile(kind)))
    except (OSError, TypeError):
        return ""


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
