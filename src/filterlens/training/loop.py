# SPDX-License-Identifier: Apache-2.0
"""The training loop: a baseline on clean inputs, then a target fine-tuned from it on degraded ones.

Every step's random numbers are keyed by (seed, stage, step, process), so a run that was killed and resumed sees the
same patches and the same noise as one that was not.
"""

import copy
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from filterlens.data.patches import PatchBank
from filterlens.degradations import Degradation
from filterlens.degradations.randomness import derive_seed
from filterlens.errors import FilterlensError, UsageError
from filterlens.hardware import autocast
from filterlens.models.architectures import build
from filterlens.models.checkpoints import load_network, save_network
from filterlens.progress import SILENT, Progress
from filterlens.training.checkpointing import append_log, load_state, rewind_log, save_state
from filterlens.training.recipe import Recipe, Stage
from filterlens.training.schedule import learning_rate
from filterlens.training.validation import psnr_per_degradation

VALIDATION_CROP = 192


@dataclass(frozen=True)
class Trainer:
    """What every stage of one training shares.

    Attributes:
        recipe: All settings that decide the weights.
        bank: The training patches.
        validation: HR images for the PSNR, none of them in the bank.
        output: Folder of weights, log and checkpoints.
        accelerator: The processes; one is the embedded default.
        precision: ``fp32`` or ``bf16``.
        fingerprint: Hash of recipe, images and number of processes; a checkpoint of another training is refused.
        data: What the card says of the training images.
        progress: Where bars go.
    """

    recipe: Recipe
    bank: PatchBank
    validation: Sequence[Tensor]
    output: Path
    accelerator: Accelerator
    precision: str
    fingerprint: str
    data: str
    progress: Progress

    @property
    def device(self) -> torch.device:
        """Where the network and the patches live."""
        return self.bank.device

    def run(self) -> dict[str, Path]:
        """Train both stages, skipping what is already done; return role → safetensors file."""
        torch.manual_seed(self.recipe.seed)
        network = build(self.recipe.architecture, scale=self.recipe.scale)
        written = {}
        for role in ("baseline", "target"):
            path = self.output / f"{role}.safetensors"
            stage: Stage = getattr(self.recipe, role)
            if path.exists() and not (self.output / f"{role}.state.pt").exists():
                self.progress.note(f"{role}: already trained, {path}")
                network = load_network(path).network
            else:
                network = self._stage(role, stage, network)
            written[role] = path
        return written

    def _stage(self, role: str, stage: Stage, network: nn.Module) -> nn.Module:
        """Train one stage and return the averaged network."""
        network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.requires_grad_(True).train()
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(self.recipe.ema))
        optimizer = torch.optim.Adam(network.parameters(), betas=self.recipe.betas, fused=True)
        state_path, log_path = self.output / f"{role}.state.pt", self.output / "log.jsonl"
        start = self._restore(state_path, network, average, optimizer)
        if self.accelerator.is_main_process:
            rewind_log(log_path, role, start)
        self.accelerator.wait_for_everyone()
        wrapped = self.accelerator.prepare(network)
        mixture = self.recipe.mixture(stage)
        generator = torch.Generator(self.device)
        local_batch = self.recipe.batch // self.accelerator.num_processes
        losses, clock = torch.zeros((), device=self.device), time.monotonic()
        with self.progress.bar(f"train {role}", stage.iterations, start) as bar:
            for step in range(start, stage.iterations):
                generator.manual_seed(derive_seed(self.recipe.seed, role, step, self.accelerator.process_index))
                truth = self.bank.sample(local_batch, generator)
                lowered = mixture.apply(truth, self.recipe.scale, generator)
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(stage, step)
                with autocast(self.device, self.precision):
                    restored = wrapped(lowered)
                loss = F.l1_loss(restored.float(), truth)
                optimizer.zero_grad(set_to_none=True)
                self.accelerator.backward(loss)
                optimizer.step()
                average.update_parameters(network)
                losses += loss.detach()
                bar.advance()
                done = step + 1
                if done % 100 == 0:
                    mean, seconds = float(losses) / 100, time.monotonic() - clock
                    if not torch.isfinite(torch.tensor(mean)):
                        raise FilterlensError(f"Training diverged at step {done} of the {role}: the loss is {mean}. Lower the learning rate.")
                    self._log(log_path, {"stage": role, "step": done, "loss": mean, "lr": learning_rate(stage, step), "it_s": 100 / seconds})
                    bar.describe(f"train {role}, L1 {mean:.4f}")
                    losses, clock = torch.zeros((), device=self.device), time.monotonic()
                if self._is_due(done, self.recipe.checkpoint_every, stage):
                    self._save(state_path, network, average, optimizer, done)
                if self._is_due(done, self.recipe.validate_every, stage):
                    self._validate(log_path, role, done, average.module)
                    clock = time.monotonic()
        return self._finish(role, stage, average.module, state_path)

    @staticmethod
    def _is_due(done: int, every: int, stage: Stage) -> bool:
        return done == stage.iterations or (every > 0 and done % every == 0)

    def _restore(self, path: Path, network: nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer) -> int:
        state = load_state(path, self.fingerprint)
        if state is None:
            return 0
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        self.progress.note(f"resumed '{path}' at step {state['step']}")
        return int(state["step"])

    def _save(
        self, path: Path, network: nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer, step: int
    ) -> None:
        if self.accelerator.is_main_process:
            state = {"fingerprint": self.fingerprint, "step": step, "network": network.state_dict()}
            save_state(path, state | {"average": average.state_dict(), "optimizer": optimizer.state_dict()})
        self.accelerator.wait_for_everyone()

    def _log(self, path: Path, entry: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            append_log(path, entry)

    def _validate(self, log_path: Path, role: str, step: int, network: nn.Module) -> dict[str, float]:
        """Log the PSNR on clean inputs, on each degradation alone, and on all of them together."""
        if not self.accelerator.is_main_process or not self.validation:
            return {}
        network.eval()
        values = psnr_per_degradation(
            network,
            self.validation,
            validation_degradations(self.recipe),
            scale=self.recipe.scale,
            resampler=self.recipe.resampler,
            seed=self.recipe.seed,
            precision=self.precision,
            crop=VALIDATION_CROP,
        )
        self._log(log_path, {"stage": role, "step": step, "psnr": values})
        shown = "  ".join(f"{name} {value:.2f}" for name, value in values.items())
        self.progress.note(f"{role} {step}: PSNR {shown}")
        return values

    def _finish(self, role: str, stage: Stage, network: nn.Module, state_path: Path) -> nn.Module:
        network = copy.deepcopy(network).to("cpu").eval()
        if self.accelerator.is_main_process:
            card = {
                "role": role,
                "recipe": self.recipe.model_dump(mode="json"),
                "iterations": stage.iterations,
                "precision": self.precision,
                "training_data": self.data,
            }
            options = {"scale": self.recipe.scale}
            save_network(self.output / f"{role}.safetensors", network, self.recipe.architecture, options, card)
            state_path.unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()
        return network


def validation_degradations(recipe: Recipe) -> dict[str, Degradation]:
    """Return clean, each effect of the target stage alone, and all of them together."""
    singles = [Degradation.parse(text) for text, _ in recipe.target.degradations]
    together = Degradation.parse("+".join(str(single) for single in singles)) if len(singles) > 1 else None
    chosen = [Degradation(), *singles, *([together] if together else [])]
    return {str(degradation): degradation for degradation in chosen}


def train(
    recipe: Recipe,
    images: Sequence[Tensor],
    output: Path | str,
    *,
    validation: Sequence[Tensor] = (),
    device: torch.device | None = None,
    precision: str = "fp32",
    data: str = "not stated",
    extra: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
) -> dict[str, Path]:
    """Train a baseline and the target fine-tuned from it; goes on where a killed run stopped.

    Under ``torchrun`` or ``accelerate launch`` the batch is shared by the processes; one process is the default.

    Args:
        recipe: The settings.
        images: HR training images ``(3, H, W)`` uint8.
        output: Folder for ``baseline.safetensors``, ``target.safetensors``, ``log.jsonl`` and the checkpoints.
        validation: HR images for the PSNR in the log.
        device: Default: the accelerator's choice.
        precision: ``fp32`` or ``bf16`` (autocast; the weights stay float32).
        data: Written into the cards.
        extra: More parts of the fingerprint that a checkpoint must match.
        progress: Where bars and notes go.

    Returns:
        ``{"baseline": path, "target": path}``.

    Raises:
        UsageError: The batch cannot be shared evenly, or ``output`` holds another training.
        FilterlensError: Images are missing or too small, or the loss diverged.
    """
    accelerator = Accelerator(cpu=device is not None and device.type == "cpu")
    if recipe.batch % accelerator.num_processes:
        raise UsageError(f"A batch of {recipe.batch} cannot be shared by {accelerator.num_processes} processes.")
    bank = PatchBank(images, recipe.patch, accelerator.device if device is None or device.type == "cuda" else device)
    parts = [recipe.model_dump_json(), str(accelerator.num_processes), precision, *(extra or {}).values()]
    digest = hashlib.sha256("\n".join(parts).encode())
    for image in images:
        digest.update(image.contiguous().numpy().tobytes())
    trainer = Trainer(
        recipe=recipe,
        bank=bank,
        validation=list(validation),
        output=Path(output),
        accelerator=accelerator,
        precision=precision,
        fingerprint=digest.hexdigest(),
        data=data,
        progress=progress if accelerator.is_main_process else SILENT,
    )
    trainer.output.mkdir(parents=True, exist_ok=True)
    return trainer.run()
