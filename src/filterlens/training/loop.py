# SPDX-License-Identifier: Apache-2.0
"""The training loop: a baseline on clean inputs, then a target fine-tuned from it on degraded ones.

Every step's random numbers are keyed by (seed, stage, step, process), so a run that was killed and resumed sees the
same patches and the same noise as one that was not.
"""

import copy
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from pydantic import ValidationError
from torch import Tensor, nn

from filterlens.data.images import center_crop, crop_to_multiple, to_float
from filterlens.data.patches import PatchBank
from filterlens.degradations import Mixture
from filterlens.degradations.randomness import derive_seed
from filterlens.errors import FilterlensError, UsageError
from filterlens.hardware import autocast
from filterlens.models.architectures import build
from filterlens.models.checkpoints import load_network, save_network
from filterlens.models.initialisation import start_near_identity
from filterlens.models.srcnn_style import SRCNNStyle
from filterlens.progress import SILENT, Bar, Progress
from filterlens.training.checkpointing import another_training, append_log, load_state, rewind_log, save_state
from filterlens.training.recipe import Recipe, Stage
from filterlens.training.running import Running
from filterlens.training.schedule import learning_rate
from filterlens.training.validation import psnr_per_degradation, validation_degradations

VALIDATION_CROP = 192
LOG_EVERY = 100


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
        self._check_validation()
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
            torch.manual_seed(self.recipe.seed)
            network = build(self.recipe.architecture, scale=self.recipe.scale)
        if self.recipe.start == "identity" and isinstance(network, SRCNNStyle):
            start_near_identity(network.features)
        written = {}
        for role in ("baseline", "target"):
            path = self.output / f"{role}.safetensors"
            if path.exists() and not self._state_path(role).exists():
                network = self._already_trained(role, path)
            else:
                network = self._stage(role, getattr(self.recipe, role), network)
            written[role] = path
        return written

    def _check_validation(self) -> None:
        """Refuse now the images that would otherwise stop the training hours later, at the first validation."""
        if self.validation:
            smallest = min(self.validation, key=lambda image: min(image.shape[-2:]))
            truth = to_float(crop_to_multiple(center_crop(smallest, VALIDATION_CROP), self.recipe.scale))
            for degradation in validation_degradations(self.recipe).values():
                degradation.apply(truth, self.recipe.scale, resampler=self.recipe.resampler)

    def _already_trained(self, role: str, path: Path) -> nn.Module:
        loaded = load_network(path)
        if not self._is_of_this_training(loaded.card):
            raise another_training(self.output)
        self.progress.note(f"{role}: already trained, {path}")
        return loaded.network

    def _is_of_this_training(self, card: Mapping[str, Any]) -> bool:
        if "fingerprint" in card:
            return bool(card["fingerprint"] == self.fingerprint)
        try:  # cards of earlier versions hold the recipe alone
            return Recipe.model_validate_json(json.dumps(card.get("recipe"))) == self.recipe
        except ValidationError:
            return False

    def _stage(self, role: str, stage: Stage, network: nn.Module) -> nn.Module:
        """Train one stage and return the averaged network."""
        running = self._begin(role, network)
        wrapped = self.accelerator.prepare(running.network)
        mixture, generator = self.recipe.mixture(stage), torch.Generator(self.device)
        with self.progress.bar(f"train {role}", stage.iterations, running.done) as bar:
            while running.done < stage.iterations:
                step = running.done
                generator.manual_seed(derive_seed(self.recipe.seed, role, step, self.accelerator.process_index))
                self._step(running, wrapped, mixture, generator, learning_rate(stage, step))
                bar.advance()
                self._after_step(running, role, stage, bar)
        return self._finish(role, stage, running.average.module)

    def _begin(self, role: str, network: nn.Module) -> Running:
        """Start a stage, or go on where a checkpoint stopped."""
        running = Running.start(network, self.recipe, self.device)
        path = self._state_path(role)
        state = load_state(path, self.fingerprint)
        if state is not None:
            running.restore(state)
            self.progress.note(f"resumed '{path}' at step {running.done}")
        if self.accelerator.is_main_process:
            rewind_log(self.log_path, role, running.done)
        self.accelerator.wait_for_everyone()
        return running

    def _step(
        self, running: Running, wrapped: nn.Module, mixture: Mixture, generator: torch.Generator, rate: float
    ) -> None:
        """Draw a batch, and move the weights and their average once."""
        truth = self.bank.sample(self.recipe.batch // self.accelerator.num_processes, generator)
        lowered = mixture.apply(truth, self.recipe.scale, generator)
        for group in running.optimizer.param_groups:
            group["lr"] = rate
        with autocast(self.device, self.precision):
            restored = wrapped(lowered)
        loss = F.l1_loss(restored.float(), truth)
        running.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        running.optimizer.step()
        running.average.update_parameters(running.network)
        running.meter.add(loss)
        running.done += 1

    def _after_step(self, running: Running, role: str, stage: Stage, bar: Bar) -> None:
        """Log, validate and save when due; saving comes last, so that a resumed run repeats what it did not log."""
        if self._is_due(running.done, LOG_EVERY, stage):
            self._log_loss(running, role, stage, bar)
        if self._is_due(running.done, self.recipe.validate_every, stage):
            self._validate(role, running.done, running.average.module)
            running.meter.restart_clock()
        if self._is_due(running.done, self.recipe.checkpoint_every, stage):
            self._save(running, role)

    @staticmethod
    def _is_due(done: int, every: int, stage: Stage) -> bool:
        return done == stage.iterations or (every > 0 and done % every == 0)

    def _state_path(self, role: str) -> Path:
        return self.output / f"{role}.state.pt"

    @property
    def log_path(self) -> Path:
        """One JSON line per logged loss or validation."""
        return self.output / "log.jsonl"

    def _loss_total(self, running: Running) -> Tensor:
        """Return the sum of losses since the last log line, averaged over the processes."""
        total: Tensor = self.accelerator.reduce(running.meter.total, "mean")
        return total

    def _log_loss(self, running: Running, role: str, stage: Stage, bar: Bar) -> None:
        mean = float(self._loss_total(running)) / running.meter.steps
        if not math.isfinite(mean):
            raise _diverged(role, running.done, f"the loss is {mean}")
        rate, speed = learning_rate(stage, running.done - 1), running.meter.steps_per_second
        self._log({"stage": role, "step": running.done, "loss": mean, "lr": rate, "it_s": speed})
        bar.describe(f"train {role}, L1 {mean:.4f}")
        running.meter.reset()

    def _save(self, running: Running, role: str) -> None:
        if not running.is_finite():
            raise _diverged(role, running.done, "a weight is not finite")
        total = self._loss_total(running)
        if self.accelerator.is_main_process:
            save_state(self._state_path(role), {"fingerprint": self.fingerprint} | running.state(total))
        self.accelerator.wait_for_everyone()

    def _log(self, entry: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            append_log(self.log_path, entry)

    def _validate(self, role: str, step: int, network: nn.Module) -> dict[str, float]:
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
        self._log({"stage": role, "step": step, "psnr": values})
        shown = "  ".join(f"{name} {value:.2f}" for name, value in values.items())
        self.progress.note(f"{role} {step}: PSNR {shown}")
        return values

    def _finish(self, role: str, stage: Stage, network: nn.Module) -> nn.Module:
        network = copy.deepcopy(network).to("cpu").eval()
        if self.accelerator.is_main_process:
            card = {
                "role": role,
                "recipe": self.recipe.model_dump(mode="json"),
                "iterations": stage.iterations,
                "precision": self.precision,
                "training_data": self.data,
                "fingerprint": self.fingerprint,
            }
            options = {"scale": self.recipe.scale}
            save_network(self.output / f"{role}.safetensors", network, self.recipe.architecture, options, card)
            self._state_path(role).unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()
        return network


def _diverged(role: str, step: int, evidence: str) -> FilterlensError:
    return FilterlensError(f"Training diverged at step {step} of the {role}: {evidence}. Lower the learning rate.")


def train(
    recipe: Recipe,
    images: Sequence[Tensor],
    output: Path | str,
    *,
    validation: Sequence[Tensor] = (),
    device: torch.device | None = None,
    precision: str = "fp32",
    data: str = "not stated",
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
        progress: Where bars and notes go.

    Returns:
        ``{"baseline": path, "target": path}``.

    Raises:
        UsageError: The batch cannot be shared evenly, or ``output`` holds another training.
        FilterlensError: Images are missing or too small, or the loss diverged.
    """
    accelerator = Accelerator(cpu=device is not None and device.type == "cpu", mixed_precision="no")
    if recipe.batch % accelerator.num_processes:
        raise UsageError(f"A batch of {recipe.batch} cannot be shared by {accelerator.num_processes} processes.")
    bank = PatchBank(images, recipe.patch, accelerator.device if device is None or device.type == "cuda" else device)
    parts = [recipe.model_dump_json(), str(accelerator.num_processes), precision]
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
