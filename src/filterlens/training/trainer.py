# SPDX-License-Identifier: Apache-2.0
"""Training a pair: a baseline on clean inputs, then a target fine-tuned from it on degraded ones."""

import contextlib
import copy
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from filterlens.data.pair_patches import PairBank, PairSets, digest_of
from filterlens.data.patches import PatchBank
from filterlens.degradations.kernel_code import kernel_basis
from filterlens.degradations.randomness import derive_seed
from filterlens.degradations.ranges import BlurRange
from filterlens.errors import UsageError
from filterlens.models.architectures import build
from filterlens.models.checkpoints import LoadedNetwork, load_network, save_network
from filterlens.models.dan import DAN
from filterlens.models.initialisation import start_near_identity
from filterlens.models.user_module import is_factory
from filterlens.pixels import NotFiniteError
from filterlens.progress import SILENT, Bar, Progress
from filterlens.stopping import AbandonedError, HeldSignals
from filterlens.training.batches import Batches
from filterlens.training.checkpointing import AnotherTrainingError, Log, load_state
from filterlens.training.loop import DivergedError, Loop
from filterlens.training.losses import loss_for
from filterlens.training.memory import demand_of
from filterlens.training.processes import TrainingProcesses, of_launcher
from filterlens.training.recipe import Recipe, Stage
from filterlens.training.state import TrainingState
from filterlens.training.validation import Validation

LOG_EVERY = 100


def train(
    recipe: Recipe,
    images: Sequence[Tensor],
    output: Path | str,
    *,
    validation: Sequence[Tensor] = (),
    pairs: PairSets | None = None,
    judging_pairs: PairSets | None = None,
    device: torch.device | None = None,
    processes: TrainingProcesses | None = None,
    precision: str = "fp32",
    baseline: LoadedNetwork | None = None,
    data: str = "not stated",
    names: Sequence[str] = (),
    fingerprint: str | None = None,
    on_begin: Callable[[], None] = lambda: None,
    progress: Progress = SILENT,
) -> dict[str, Path]:
    """Train a baseline and the target fine-tuned from it; resumes a killed run.

    The state is saved at the recipe's checkpoints, every few minutes, and when a signal ends the process.
    Under ``torchrun`` or ``accelerate launch`` the batch is shared by the processes; one process is the default.

    Args:
        recipe: The settings.
        images: HR training images ``(3, H, W)`` uint8.
        output: Folder for ``baseline.safetensors``, ``target.safetensors``, ``log.jsonl`` and the checkpoints.
        validation: HR images for the PSNR in the log.
        pairs: Pairs on which the target is trained: alone where the recipe's target has no degradations, else they
            are one more of the pairs' degradations.
        judging_pairs: Pairs for the PSNR in the log.
        device: Device to train on; by default the accelerator's choice.
        processes: The processes that share every batch; by default those of the launcher.
            :class:`filterlens.training.processes.OneProcess` trains alone inside a job of several.
        precision: ``fp32`` or ``bf16`` (autocast; the weights stay float32).
        baseline: Fine-tune only the target, from this network; it is copied into ``output``.
        data: Description of the training images, written into the cards.
        names: Names of ``images`` and then of ``validation``, for errors.
        fingerprint: Result of :func:`fingerprint_of` for these arguments, if it is already known.
        on_begin: Function called in the leading process before a stage begins or goes on, not if all is done.
        progress: Receiver of bars and notes.

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
    if pairs and recipe.architecture == "dan":
        raise UsageError(
            "dan learns from the kernels of blurs, which pairs do not have. Give another --architecture, or "
            "--degradation in place of the pairs."
        )
    processes = processes or of_launcher(recipe, device)
    if recipe.batch % processes.num_processes:
        raise UsageError(f"A batch of {recipe.batch} cannot be shared by {processes.num_processes} processes.")
    where = processes.device if device is None or device.type == "cuda" else device
    network = None if baseline is None else baseline.network
    demand_of(recipe, processes.num_processes, network).check(where)
    bank = PatchBank(images, recipe.patch, where, names[: len(images)])
    trainer = Trainer(
        recipe=recipe,
        bank=bank,
        validation=Validation(recipe, list(validation), names[len(images) :], judging_pairs or {}),
        pairs=PairBank(pairs, recipe.patch, recipe.scale, where) if pairs else None,
        output=Path(output),
        processes=processes,
        precision=precision,
        baseline=baseline,
        fingerprint=fingerprint or fingerprint_of(recipe, processes.num_processes, precision, baseline, images, pairs),
        data=data,
        progress=progress if processes.is_main_process else SILENT,
        log=Log(Path(output) / "log.jsonl"),
        on_begin=on_begin,
    )
    trainer.output.mkdir(parents=True, exist_ok=True)
    with torch.cuda.device(where) if where.type == "cuda" else contextlib.nullcontext():
        return trainer.run()


def fingerprint_of(
    recipe: Recipe,
    processes: int,
    precision: str,
    baseline: LoadedNetwork | None,
    images: Sequence[Tensor],
    pairs: PairSets | None = None,
) -> str:
    """Hash everything that decides the weights: recipe, number of processes, precision, given baseline, pixels."""
    given = [] if baseline is None else [baseline.sha256]
    digest = hashlib.sha256("\n".join([recipe.model_dump_json(), str(processes), precision, *given]).encode())
    for image in images:
        digest.update(image.contiguous().numpy().tobytes())
    if pairs:
        digest.update(digest_of(pairs).encode())
    return digest.hexdigest()


def check_baseline(baseline: LoadedNetwork, recipe: Recipe, output: Path) -> None:
    """Check that the target of a recipe can be fine-tuned from a network, into a folder.

    Raises:
        UsageError: Architecture or scale are not those of the recipe, or the file is one that the training writes.
    """
    for setting, found in (("architecture", baseline.architecture), ("scale", baseline.scale)):
        wanted = getattr(recipe, setting)
        if found != wanted:
            raise UsageError(
                f"Baseline '{baseline.path}' has {setting} {found}, recipe '{recipe.name}' has {wanted}. "
                f"Give --{setting} {found}, or another baseline."
            )
    written = [output / f"{role}.safetensors" for role in ("baseline", "target")]
    if baseline.path.resolve() in [path.resolve() for path in written]:
        raise UsageError(f"Baseline '{baseline.path}' is a file that this training would write. Give another --output.")


def untrained(recipe: Recipe) -> nn.Module:
    """Build the network of a recipe with its seed's random weights, near the identity where the recipe says so."""
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        torch.manual_seed(recipe.seed)
        network = build(recipe.architecture, **recipe.options)
    if isinstance(network, DAN):
        network.set_basis(_kernel_basis(network, recipe))
    if recipe.start == "identity":
        start_near_identity(network)
    return network


def _kernel_basis(network: DAN, recipe: Recipe) -> Tensor:
    """Return the basis of the kernels that the target will see, or of DAN's own range where those are fixed."""
    drawn = recipe.mixture(recipe.target).blur_range or BlurRange((0.2, 4.0))
    return kernel_basis(replace(drawn, kernel=network.kernel), network.code, seed=recipe.seed)


@dataclass(frozen=True)
class Trainer:
    """One training of a pair: both stages, skipping what is already done.

    Attributes:
        recipe: All settings that decide the weights.
        bank: The training patches.
        validation: Function that measures the PSNR on images outside the bank.
        pairs: The patches of pairs, which the target sees; None where there are none.
        output: Folder of weights, log and checkpoints.
        processes: Processes that share every batch.
        precision: ``fp32`` or ``bf16``.
        baseline: Existing baseline, from which only the target is fine-tuned; None trains both.
        fingerprint: Hash of recipe, images, processes and given baseline; a checkpoint of another training is refused.
        data: Description of the training images on the card.
        progress: Receiver of progress bars.
        log: One JSON line per logged loss or validation.
        on_begin: Function called in the leading process before a stage begins or goes on, not if all is done.
    """

    recipe: Recipe
    bank: PatchBank
    validation: Validation
    pairs: PairBank | None
    output: Path
    processes: TrainingProcesses
    precision: str
    baseline: LoadedNetwork | None
    fingerprint: str
    data: str
    progress: Progress
    log: Log
    on_begin: Callable[[], None]

    def run(self) -> dict[str, Path]:
        """Train both stages, skipping what is already done; return role → safetensors file."""
        self.validation.check()
        self._refuse_another_target()
        given = self.baseline
        baseline = self._trained("baseline", untrained(self.recipe)) if given is None else self._taken_over(given)
        kept = copy.deepcopy(baseline)
        self._trained("target", baseline)
        if not self.weights_path("baseline").exists():  # somebody deleted the folder during the second stage
            self._write_baseline(kept)
        return {role: self.weights_path(role) for role in ("baseline", "target")}

    def _refuse_another_target(self) -> None:
        """Refuse before anything is written what the second stage would refuse hours later."""
        path = self.weights_path("target")
        if load_state(self.state_path("target"), self.fingerprint) is None and path.exists():
            loaded = self._read(path)
            if not self._is_of_this_training(loaded.card):
                raise AnotherTrainingError(self.output)

    def _write_baseline(self, network: nn.Module) -> None:
        if self.baseline is not None:
            self._copy_given(self.baseline)
        elif self.processes.is_main_process:
            self._write("baseline", network)

    def _trained(self, role: str, start: nn.Module) -> nn.Module:
        """Return the network of a stage: read it where it is finished, else train it from ``start``."""
        path = self.weights_path(role)
        if path.exists() and not self.state_path(role).exists():
            return self._already_trained(role, path)
        return self._stage(role, start)

    def _taken_over(self, given: LoadedNetwork) -> nn.Module:
        """Write an existing baseline next to the target and return a copy of it."""
        path = self.weights_path("baseline")
        is_other = path.exists() and self._read(path).card.get("source_sha256") != given.sha256
        if is_other or self.state_path("baseline").exists():
            raise AnotherTrainingError(self.output)
        if not path.exists():
            self._copy_given(given)
        self.processes.wait_for_everyone()
        self.progress.note(f"baseline: taken from '{given.path}'")
        return copy.deepcopy(given.network)

    def _copy_given(self, given: LoadedNetwork) -> None:
        if self.processes.is_main_process:
            self.on_begin()
            card = given.card | {"role": "baseline", "source_sha256": given.sha256}
            save_network(self.weights_path("baseline"), given.network, given.architecture, given.options, card)

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

    def _stage(self, role: str, network: nn.Module) -> nn.Module:
        """Train one stage and return the averaged network."""
        stage = self._begin(role, network)
        stage.run(f"train {role}")
        averaged = copy.deepcopy(stage.state.average.module).to("cpu").eval()
        if self.processes.is_main_process:
            self._write(role, averaged)
            self.state_path(role).unlink(missing_ok=True)
        self.processes.wait_for_everyone()
        return averaged

    def _begin(self, role: str, network: nn.Module) -> "_PairStage":
        """Start a stage, or resume it from a saved state."""
        stage = _PairStage(self, role, network)
        stage.resume()
        if self.processes.is_main_process:
            self.on_begin()
            self.log.rewind(role, stage.state.done, self.progress.note)
        self.processes.wait_for_everyone()
        return stage

    def weights_path(self, role: str) -> Path:
        """Return the file of a stage's result."""
        return self.output / f"{role}.safetensors"

    def state_path(self, role: str) -> Path:
        """Return the file of a stage's state."""
        return self.output / f"{role}.state.pt"

    def _write(self, role: str, network: nn.Module) -> None:
        """Write the result of a stage, and first the last lines of its log."""
        self.log.flush()
        stage: Stage = getattr(self.recipe, role)
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
        save_network(self.weights_path(role), network, self.recipe.architecture, options, card)


class _PairStage(Loop):
    """The baseline's or the target's stage, logged as JSON lines and validated by PSNR.

    Args:
        trainer: Trainer of both stages.
        role: ``baseline`` or ``target``.
        network: Network from which the stage starts.
    """

    def __init__(self, trainer: Trainer, role: str, network: nn.Module) -> None:
        recipe, processes, stage = trainer.recipe, trainer.processes, getattr(trainer.recipe, role)
        loss = loss_for(network, recipe, role, trainer.precision, shared=processes.num_processes > 1)
        state = TrainingState.start(
            network, trainer.bank.device, betas=recipe.betas, ema=recipe.ema, training_only=loss.training_only
        )
        if recipe.is_foreign:
            state.network.eval()  # no dropout, and statistics that stay: both ends of the pair compute alike
        batches = Batches(
            trainer.bank,
            recipe.mixture(stage),
            scale=recipe.scale,
            size=recipe.batch // processes.num_processes,
            seed_of=lambda done: derive_seed(recipe.seed, role, done, processes.process_index),
            kernels=loss.needs_kernels,
            keys=loss.needs_keys,
            pairs=trainer.pairs if role == "target" else None,
        )
        super().__init__(
            role,
            stage,
            state,
            loss,
            batches,
            processes=processes,
            file=trainer.state_path(role),
            fingerprint=trainer.fingerprint,
            progress=trainer.progress,
            log_every=LOG_EVERY,
            save_every=recipe.checkpoint_every,
            validate_every=recipe.validate_every,
        )
        self._trainer = trainer

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self._trainer.recipe.rate(self.title, step)

    def log(self, mean: float, bar: Bar) -> None:
        """Log loss, learning rate and speed."""
        if not math.isfinite(mean):
            raise self.diverged(f"the loss is {mean}")
        rate, speed = self.rate(self.state.done - 1), self.state.meter.steps_per_second
        self._append({"loss": mean, "lr": rate, "it_s": speed})
        bar.describe(f"train {self.title}, loss {mean:.4f}")

    def validate(self, signals: HeldSignals) -> None:
        """Log the PSNR on clean inputs, on each degradation alone, and on all of them together.

        A signal leaves it to the run that goes on.
        """
        trainer, self.state.owes_validation = self._trainer, False
        if not self.processes.is_main_process or trainer.validation.is_empty:
            return
        self.state.owes_validation = True
        network = self.state.average.module.eval()
        try:
            values = trainer.validation.measure(network, trainer.precision, signals.check)
        except AbandonedError:
            return
        except NotFiniteError as error:
            raise self.diverged(error.evidence) from error
        self.state.owes_validation = False
        self._append({"psnr": values})
        shown = "  ".join(f"{name} {value:.2f}" for name, value in values.items())
        self.progress.note(f"{self.title} {self.state.done}: PSNR {shown}")

    def more(self) -> dict[str, Any]:
        """Write the log: a state that is ahead of it would lose lines."""
        self._trainer.log.flush()
        return {}

    def diverged(self, evidence: str) -> DivergedError:
        """Build the error for a stage whose numbers have diverged."""
        return DivergedError(
            f"Training diverged at step {self.state.done} of the {self.title}: {evidence}. Lower the learning rate."
        )

    def _append(self, said: dict[str, Any]) -> None:
        if self.processes.is_main_process:
            self._trainer.log.append({"stage": self.title, "step": self.state.done} | said)
