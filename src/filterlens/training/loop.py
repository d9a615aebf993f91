# SPDX-License-Identifier: Apache-2.0
"""Training a pair: a baseline on clean inputs, then a target fine-tuned from it on degraded ones."""

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from filterlens.data.patches import PatchBank
from filterlens.errors import UsageError
from filterlens.models.checkpoints import LoadedNetwork
from filterlens.progress import SILENT, Progress
from filterlens.training.baseline import check_baseline
from filterlens.training.checkpointing import Log
from filterlens.training.memory import demand_of
from filterlens.training.processes import Processes, of_launcher
from filterlens.training.recipe import Recipe
from filterlens.training.trainer import Trainer
from filterlens.training.validation import Validation


def train(
    recipe: Recipe,
    images: Sequence[Tensor],
    output: Path | str,
    *,
    validation: Sequence[Tensor] = (),
    device: torch.device | None = None,
    accelerator: Processes | None = None,
    precision: str = "fp32",
    baseline: LoadedNetwork | None = None,
    data: str = "not stated",
    names: Sequence[str] = (),
    fingerprint: str | None = None,
    on_begin: Callable[[], None] = lambda: None,
    progress: Progress = SILENT,
) -> dict[str, Path]:
    """Train a baseline and the target fine-tuned from it; goes on where a killed run stopped.

    The state is saved at the recipe's checkpoints, every few minutes, and when a signal ends the process.
    Under ``torchrun`` or ``accelerate launch`` the batch is shared by the processes; one process is the default.

    Args:
        recipe: The settings.
        images: HR training images ``(3, H, W)`` uint8.
        output: Folder for ``baseline.safetensors``, ``target.safetensors``, ``log.jsonl`` and the checkpoints.
        validation: HR images for the PSNR in the log.
        device: Where to train; by default the accelerator's choice.
        accelerator: The processes that share every batch; by default those of the launcher.
            :class:`filterlens.training.processes.OneProcess` trains alone inside a job of several.
        precision: ``fp32`` or ``bf16`` (autocast; the weights stay float32).
        baseline: Fine-tune only the target, from this network; it is copied into ``output``.
        data: Written into the cards.
        names: Of ``images`` and then of ``validation``, for errors.
        fingerprint: What :func:`fingerprint_of` gives for these arguments, where it is known already.
        on_begin: Called in the leading process before a stage begins or goes on, so not where all is done already.
        progress: Where bars and notes go.

    Returns:
        ``{"baseline": path, "target": path}``.

    Raises:
        UsageError: The batch cannot be shared evenly or fit into memory, ``baseline`` does not fit the recipe, or
            ``output`` holds another training.
        FilterlensError: Images are missing or too small, or the loss diverged.
    """
    if baseline is not None:
        check_baseline(baseline, recipe, Path(output))
    elif recipe.is_foreign:
        raise UsageError(f"{recipe.architecture} cannot be built here. Give the network to start from: --from FILE.")
    accelerator = accelerator or of_launcher(recipe, device)
    if recipe.batch % accelerator.num_processes:
        raise UsageError(f"A batch of {recipe.batch} cannot be shared by {accelerator.num_processes} processes.")
    where = accelerator.device if device is None or device.type == "cuda" else device
    network = None if baseline is None else baseline.network
    demand_of(recipe, accelerator.num_processes, network).check(where)
    bank = PatchBank(images, recipe.patch, where, names[: len(images)])
    trainer = Trainer(
        recipe=recipe,
        bank=bank,
        validation=Validation(recipe, list(validation), names[len(images) :]),
        output=Path(output),
        accelerator=accelerator,
        precision=precision,
        baseline=baseline,
        fingerprint=fingerprint or fingerprint_of(recipe, accelerator.num_processes, precision, baseline, images),
        data=data,
        progress=progress if accelerator.is_main_process else SILENT,
        log=Log(Path(output) / "log.jsonl"),
        on_begin=on_begin,
    )
    trainer.output.mkdir(parents=True, exist_ok=True)
    with torch.cuda.device(where) if where.type == "cuda" else contextlib.nullcontext():
        return trainer.run()


def fingerprint_of(
    recipe: Recipe, processes: int, precision: str, baseline: LoadedNetwork | None, images: Sequence[Tensor]
) -> str:
    """Hash all that decides the weights: recipe, number of processes, precision, given baseline, pixels."""
    given = [] if baseline is None else [baseline.sha256]
    digest = hashlib.sha256("\n".join([recipe.model_dump_json(), str(processes), precision, *given]).encode())
    for image in images:
        digest.update(image.contiguous().numpy().tobytes())
    return digest.hexdigest()
