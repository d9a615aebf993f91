# SPDX-License-Identifier: Apache-2.0
"""The training loop: both stages of one training, step by step.

Every step's random numbers are keyed by (seed, stage, step, process), so a run that was killed and resumed sees the
same patches and the same noise as one that was not.
"""

import copy
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from filterlens.data.patches import PatchBank
from filterlens.degradations.randomness import derive_seed
from filterlens.errors import FilterlensError
from filterlens.models.checkpoints import LoadedNetwork, load_network, save_network
from filterlens.models.user_module import is_factory
from filterlens.progress import Bar, Progress
from filterlens.stopping import AbandonedError, HeldSignals
from filterlens.training.batches import Batches
from filterlens.training.checkpointing import AnotherTrainingError, Log, load_state, resume, save_state
from filterlens.training.cuda_graph import CudaGraphRecorder
from filterlens.training.losses import RestorationLoss, loss_for
from filterlens.training.pauses import SAVE_EVERY, Pauses
from filterlens.training.processes import Processes
from filterlens.training.recipe import Contrast, Recipe, Stage
from filterlens.training.running import Running
from filterlens.training.schedule import learning_rate, learning_rate_of_phases
from filterlens.training.start import untrained
from filterlens.training.step import CapturedStep, EagerStep, Step, Update
from filterlens.training.validation import NotFiniteError, Validation

LOG_EVERY = 100


@dataclass(frozen=True)
class Trainer:
    """What every stage of one training shares.

    Attributes:
        recipe: All settings that decide the weights.
        bank: The training patches.
        validation: Measures the PSNR on images of which none is in the bank.
        output: Folder of weights, log and checkpoints.
        accelerator: The processes; one is the embedded default.
        precision: ``fp32`` or ``bf16``.
        baseline: An existing baseline, of which only the target is fine-tuned; None trains both.
        fingerprint: Hash of recipe, images, processes and given baseline; a checkpoint of another training is refused.
        data: What the card says of the training images.
        progress: Where bars go.
        log: One JSON line per logged loss or validation.
        on_begin: Called in the leading process before a stage begins or goes on, so not where all is done already.
    """

    recipe: Recipe
    bank: PatchBank
    validation: Validation
    output: Path
    accelerator: Processes
    precision: str
    baseline: LoadedNetwork | None
    fingerprint: str
    data: str
    progress: Progress
    log: Log
    on_begin: Callable[[], None]

    @property
    def device(self) -> torch.device:
        """Where the network and the patches live."""
        return self.bank.device

    def run(self) -> dict[str, Path]:
        """Train both stages, skipping what is already done; return role → safetensors file."""
        self.validation.check()
        self._refuse_another_target()
        given = self.baseline
        baseline = self._trained("baseline", untrained(self.recipe)) if given is None else self._taken_over(given)
        kept = copy.deepcopy(baseline)
        self._trained("target", baseline)
        if not self._weights_path("baseline").exists():  # somebody deleted the folder during the second stage
            self._write_baseline(kept)
        return {role: self._weights_path(role) for role in ("baseline", "target")}

    def _refuse_another_target(self) -> None:
        """Refuse before anything is written what the second stage would refuse hours later."""
        path = self._weights_path("target")
        if load_state(self._state_path("target"), self.fingerprint) is None and path.exists():
            loaded = self._read(path)
            if not self._is_of_this_training(loaded.card):
                raise AnotherTrainingError(self.output)

    def _write_baseline(self, network: nn.Module) -> None:
        if self.baseline is not None:
            self._copy_given(self.baseline)
        elif self.accelerator.is_main_process:
            self._write("baseline", self.recipe.baseline, network)

    def _trained(self, role: str, start: nn.Module) -> nn.Module:
        """Return the network of a stage: read it where it is finished, else train it from ``start``."""
        path = self._weights_path(role)
        if path.exists() and not self._state_path(role).exists():
            return self._already_trained(role, path)
        return self._stage(role, getattr(self.recipe, role), start)

    def _taken_over(self, given: LoadedNetwork) -> nn.Module:
        """Write an existing baseline beside the target and return a copy of it."""
        path = self._weights_path("baseline")
        is_other = path.exists() and self._read(path).card.get("source_sha256") != given.sha256
        if is_other or self._state_path("baseline").exists():
            raise AnotherTrainingError(self.output)
        if not path.exists():
            self._copy_given(given)
        self.accelerator.wait_for_everyone()
        self.progress.note(f"baseline: taken from '{given.path}'")
        return copy.deepcopy(given.network)

    def _copy_given(self, given: LoadedNetwork) -> None:
        if self.accelerator.is_main_process:
            self.on_begin()
            card = given.card | {"role": "baseline", "source_sha256": given.sha256}
            save_network(self._weights_path("baseline"), given.network, given.architecture, given.options, card)

    def _already_trained(self, role: str, path: Path) -> nn.Module:
        loaded = self._read(path)
        if not self._is_of_this_training(loaded.card):
            raise AnotherTrainingError(self.output)
        self.progress.note(f"{role}: already trained, {path}")
        return loaded.network

    def _read(self, path: Path) -> LoadedNetwork:
        """Read a network of this training; the code that builds it was named when the training was started."""
        architecture = self.recipe.architecture
        return load_network(path, architecture if is_factory(architecture) else None)

    def _is_of_this_training(self, card: Mapping[str, Any]) -> bool:
        if "fingerprint" in card:
            return bool(card["fingerprint"] == self.fingerprint)
        try:  # cards of earlier versions hold the recipe alone
            return Recipe.model_validate_json(json.dumps(card.get("recipe"))) == self.recipe
        except ValidationError:
            return False

    def _stage(self, role: str, stage: Stage, network: nn.Module) -> nn.Module:
        """Train one stage and return the averaged network."""
        loss = loss_for(network, self.recipe, role, self.precision, shared=self.accelerator.num_processes > 1)
        running = self._begin(role, network, loss)
        shared = self.accelerator.prepare(loss)
        batches = Batches(
            self.bank,
            self.recipe.mixture(stage),
            scale=self.recipe.scale,
            size=self.recipe.batch // self.accelerator.num_processes,
            seed_of=lambda done: derive_seed(self.recipe.seed, role, done, self.accelerator.process_index),
            kernels=loss.needs_kernels,
            keys=loss.needs_keys,
        )
        with self.progress.bar(f"train {role}", stage.iterations, running.done) as bar, HeldSignals() as held:
            pauses = Pauses(held, self.accelerator)
            if running.owes_validation:
                self._validate(role, running, held)
            for end in (loss.encoder_iterations, stage.iterations):
                loss.encoder_alone = end == loss.encoder_iterations
                step = self._step(running, loss, shared)  # another recording: what a step computes has changed
                while running.done < end:
                    step(batches.draw(running.done), self._rate(role, stage, running.done))
                    running.count()
                    bar.advance()
                    self._after_step(running, role, stage, bar, held, pauses)
        return self._finish(role, stage, running.average.module)

    def _rate(self, role: str, stage: Stage, step: int) -> float:
        if self.recipe.architecture != "dasr":
            return learning_rate(stage, step)
        return learning_rate_of_phases(stage, self.recipe.contrast or Contrast(), role, step)

    def _begin(self, role: str, network: nn.Module, loss: RestorationLoss) -> Running:
        """Start a stage, or go on where a checkpoint stopped."""
        stage: Stage = getattr(self.recipe, role)
        running = Running.start(network, self.recipe, self.device, loss.training_only)
        if self.recipe.is_foreign:
            running.network.eval()  # no dropout, and statistics that stay: both ends of the pair compute alike
        path = self._state_path(role)
        if resume(path, self.fingerprint, running, stage.iterations) is not None:
            self.progress.note(f"resumed '{path}' at step {running.done}")
        if self.accelerator.is_main_process:
            self.on_begin()
            self.log.rewind(role, running.done, self.progress.note)
        self.accelerator.wait_for_everyone()
        return running

    def _step(self, running: Running, loss: RestorationLoss, shared: RestorationLoss) -> Step:
        """Choose how steps run: recorded on one GPU, eagerly elsewhere (processes exchange gradients inside a step)."""
        update = Update(running, shared, self.accelerator.backward)
        if self.device.type == "cuda" and shared is loss:  # else it is wrapped for several processes
            return CapturedStep(update, CudaGraphRecorder(self.device), self.progress.note)
        return EagerStep(update)

    def _after_step(
        self, running: Running, role: str, stage: Stage, bar: Bar, held: HeldSignals, pauses: Pauses
    ) -> None:
        """Log, validate and save when due; saving comes last, so that a resumed run repeats what it did not log."""
        if self._is_due(running.done, LOG_EVERY, stage):
            self._log_loss(running, role, stage, bar)
        is_validated = self._is_due(running.done, self.recipe.validate_every, stage)
        if is_validated:
            self._validate(role, running, held)
            running.meter.restart_clock()
        wish = pauses.wish(at_once=is_validated)
        if wish.save or wish.signal or self._is_due(running.done, self.recipe.checkpoint_every, stage):
            self._save(running, role, must=bool(wish.signal))
            pauses.saved()
        if wish.signal:
            self.progress.note(
                f"ended at step {running.done} of the {role}; its state is saved, and the same command goes on from it"
            )
            held.deliver(wish.signal)

    @staticmethod
    def _is_due(done: int, every: int, stage: Stage) -> bool:
        return done == stage.iterations or (every > 0 and done % every == 0)

    def _weights_path(self, role: str) -> Path:
        return self.output / f"{role}.safetensors"

    def _state_path(self, role: str) -> Path:
        return self.output / f"{role}.state.pt"

    def _loss_total(self, running: Running) -> Tensor:
        """Return the sum of losses since the last log line, averaged over the processes."""
        total: Tensor = self.accelerator.reduce(running.meter.total, "mean")
        return total

    def _log_loss(self, running: Running, role: str, stage: Stage, bar: Bar) -> None:
        mean = float(self._loss_total(running)) / running.meter.steps
        if not math.isfinite(mean):
            raise _diverged(role, running.done, f"the loss is {mean}")
        rate, speed = self._rate(role, stage, running.done - 1), running.meter.steps_per_second
        self._log({"stage": role, "step": running.done, "loss": mean, "lr": rate, "it_s": speed})
        bar.describe(f"train {role}, loss {mean:.4f}")
        running.meter.reset()

    def _save(self, running: Running, role: str, must: bool) -> None:
        """Save the state; where the disk is full and it must not be now, say so and go on."""
        if not running.is_finite():
            raise _diverged(role, running.done, "a weight is not finite")
        total = self._loss_total(running)
        if self.accelerator.is_main_process:
            try:
                self.log.flush()
                save_state(self._state_path(role), {"fingerprint": self.fingerprint} | running.state(total))
            except FilterlensError as error:
                if must:
                    raise
                self.progress.note(f"{error} The training goes on; it tries again in {SAVE_EVERY / 60:g} minutes.")
        self.accelerator.wait_for_everyone()

    def _log(self, entry: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            self.log.append(entry)

    def _validate(self, role: str, running: Running, held: HeldSignals) -> None:
        """Log the PSNR on clean inputs, on each degradation alone, and on all of them together.

        A signal leaves it to the run that goes on.
        """
        if not self.accelerator.is_main_process or not self.validation.images:
            running.owes_validation = False
            return
        running.owes_validation = True
        network = running.average.module.eval()
        try:
            values = self.validation.measure(network, self.precision, held.check)
        except AbandonedError:
            return
        except NotFiniteError as error:
            raise _diverged(role, running.done, f"the network gives {error.evidence}") from error
        running.owes_validation = False
        self._log({"stage": role, "step": running.done, "psnr": values})
        shown = "  ".join(f"{name} {value:.2f}" for name, value in values.items())
        self.progress.note(f"{role} {running.done}: PSNR {shown}")

    def _finish(self, role: str, stage: Stage, network: nn.Module) -> nn.Module:
        network = copy.deepcopy(network).to("cpu").eval()
        if self.accelerator.is_main_process:
            self._write(role, stage, network)
            self._state_path(role).unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()
        return network

    def _write(self, role: str, stage: Stage, network: nn.Module) -> None:
        """Write the result of a stage, and first the last lines of its log."""
        self.log.flush()
        card = {
            "role": role,
            "recipe": self.recipe.model_dump(mode="json"),
            "iterations": stage.iterations,
            "precision": self.precision,
            "training_data": self.data,
            "fingerprint": self.fingerprint,
        }
        options: dict[str, Any] = self.recipe.options
        if self.baseline is not None:
            card["baseline_sha256"], options = self.baseline.sha256, self.baseline.options
        save_network(self._weights_path(role), network, self.recipe.architecture, options, card)


def _diverged(role: str, step: int, evidence: str) -> FilterlensError:
    return FilterlensError(f"Training diverged at step {step} of the {role}: {evidence}. Lower the learning rate.")
