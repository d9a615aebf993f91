# SPDX-License-Identifier: Apache-2.0
"""Re-train a part of the baseline on one degradation: how far do the found filters alone get it?"""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from filterlens.data.patches import PatchBank
from filterlens.degradations.randomness import derive_seed
from filterlens.editing.retrain_settings import RetrainSettings
from filterlens.editing.trained_part import TrainableWeights, TrainedPart
from filterlens.errors import FilterlensError, UsageError
from filterlens.models.checkpoints import save_network
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Bar, Progress
from filterlens.stopping import HeldSignals
from filterlens.training.average import MovingAverage
from filterlens.training.batches import Batches
from filterlens.training.checkpointing import damaged, resume, save_state
from filterlens.training.cuda_graph import CudaGraphRecorder
from filterlens.training.losses import RestorationLoss
from filterlens.training.memory import Demand, shape_of
from filterlens.training.meter import LossMeter
from filterlens.training.pauses import SAVE_EVERY, Pauses
from filterlens.training.running import Running
from filterlens.training.schedule import learning_rate
from filterlens.training.step import CapturedStep, EagerStep, Step, Update

WORST_LOSS = 10.0  # ten times the range of an image: nothing comes back from there

ROLE = "re-trained baseline"


@dataclass(frozen=True, eq=False)
class Retrained:
    """A re-trained baseline.

    Attributes:
        parameters: Flat ``(parameters,)`` on the pair's device; ``pair.network(parameters)`` is the network.
        trained_weights: How many numbers were trained.
        part: What they are, in words.
        settings: Of the training.
        losses: (step, mean L1 since the entry before), of the whole training, also of a resumed one.
        precision: ``fp32`` or ``bf16``.
        fingerprint: Hash of all that decides the numbers but the device.
    """

    parameters: Tensor
    trained_weights: int
    part: dict[str, Any]
    settings: RetrainSettings
    losses: tuple[tuple[int, float], ...]
    precision: str
    fingerprint: str

    def card(self) -> dict[str, Any]:
        """Return what a checkpoint says of itself."""
        return {
            "role": ROLE,
            "trained": self.part,
            "trained_weights": self.trained_weights,
            "settings": self.settings.model_dump(mode="json"),
            "precision": self.precision,
            "fingerprint": self.fingerprint,
        }


class DivergedError(FilterlensError):
    """The loss left every bound, or a weight is no longer finite: the learning rate was too high."""


def retrain(
    pair: ModelPair,
    trained: TrainedPart,
    settings: RetrainSettings,
    images: Sequence[Tensor],
    *,
    state: Path | None = None,
    device: torch.device | None = None,
    precision: str = "fp32",
    names: Sequence[str] = (),
    fingerprint: str | None = None,
    progress: Progress = SILENT,
) -> Retrained:
    """Train a part of the pair's baseline; all other weights stay bit-identical, the pair is left as it is.

    L1 loss, Adam, warm-up and cosine, as in the training of a pair. Random numbers are keyed by (seed, step): a
    training that was killed and resumed gives the same numbers, and two parts are compared on the same batches.

    Args:
        pair: Baseline and target; of the target only buffers (running statistics) are used.
        trained: What is trained.
        settings: On what and how long; made by :func:`settings_for`.
        images: HR training images ``(3, H, W)`` uint8.
        state: File from which a killed training goes on, saved at checkpoints, every few minutes, and when a signal
            ends the process; it stays when the training is done, so that the caller can save the result before
            deleting it.
        device: Where to train; the pair's own by default.
        precision: ``fp32`` or ``bf16`` autocast; the weights stay as they are.
        names: Of the images, for errors.
        fingerprint: What :func:`fingerprint_of` gives for these arguments, where it is known already.
        progress: Where the bar goes.

    Raises:
        UsageError: Nothing is trained, the patches do not fit, or ``state`` is of another training.
        FilterlensError: Images are missing or too small.
        DivergedError: The loss or a weight did.

    Example:
        >>> found = attribution.select("blur:2", percent=1)
        >>> settings = settings_for("blur:2", iterations=1000)
        >>> result = retrain(pair, SelectedFilters(found), settings, images)
        >>> network = pair.network(result.parameters)
    """
    if settings.patch % pair.scale:
        raise UsageError(f"Re-training: patch = {settings.patch} is not a multiple of the pair's scale {pair.scale}.")
    where = pair.device if device is None else device
    shape = shape_of(pair.network(pair.baseline))
    Demand("Re-training", shape, settings.batch, settings.patch, pair.scale, trained=False).check(where)
    there = pair.to(where)
    bank = PatchBank(images, settings.patch, where, names)
    fingerprint = fingerprint or fingerprint_of(pair, trained, settings, images, precision)
    trainable = trained.trainable(there, settings.seed)
    job = _Job(settings, _start(trainable, settings, where), state, fingerprint, precision, progress)
    job.run(bank, pair.scale)
    average = cast(TrainableWeights, job.running.average.module)
    return Retrained(
        parameters=average.merged(there).to(pair.device),
        trained_weights=average.trained_weights,
        part=trained.describe(),
        settings=settings,
        losses=tuple(job.losses),
        precision=precision,
        fingerprint=fingerprint,
    )


def save_retrained(path: Path, pair: ModelPair, retrained: Retrained, more: dict[str, Any] | None = None) -> None:
    """Write the re-trained network as an ordinary checkpoint, whole or not at all.

    Args:
        path: A ``.safetensors`` file.
        pair: The pair that was re-trained; loaded from checkpoints, so that its architecture is known.
        retrained: The result.
        more: Added to the card: images, figures.

    Raises:
        UsageError: The pair was made of modules, whose architecture no checkpoint can name.
    """
    if "architecture" not in pair.facts:
        raise UsageError(
            "The pair was made of modules, so a checkpoint cannot name its architecture. "
            "Save the state_dict of pair.network(parameters) instead."
        )
    facts = pair.facts
    card = retrained.card() | {f"{role}_sha256": facts[role]["sha256"] for role in ("baseline", "target")}
    network = pair.network(retrained.parameters)
    save_network(path, network, facts["architecture"], facts["options"], card | (more or {}))


def fingerprint_of(
    pair: ModelPair, trained: TrainedPart, settings: RetrainSettings, images: Sequence[Tensor], precision: str
) -> str:
    """Hash all that decides the numbers of a re-training but the device."""
    written = {"trained": trained.describe(), "settings": settings.model_dump(mode="json"), "precision": precision}
    digest = hashlib.sha256(json.dumps(written, sort_keys=True).encode())
    buffers = pair.network(pair.baseline).buffers()
    for tensor in (pair.baseline, *buffers, *images):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _start(trainable: TrainableWeights, settings: RetrainSettings, device: torch.device) -> Running:
    """Give Adam and the moving average the trained numbers, and nothing else."""
    optimizer = torch.optim.Adam(trainable.parameters(), betas=settings.betas, fused=True)
    return Running(trainable, MovingAverage(trainable, settings.ema), optimizer, LossMeter(device))


class _Job:
    """One re-training on its way."""

    def __init__(
        self,
        settings: RetrainSettings,
        running: Running,
        path: Path | None,
        fingerprint: str,
        precision: str,
        progress: Progress,
    ) -> None:
        self.settings, self.running = settings, running
        self.losses: list[tuple[int, float]] = []
        self._path, self._fingerprint = path, fingerprint
        self._precision, self._progress = precision, progress
        self._resume()

    def run(self, bank: PatchBank, scale: int) -> None:
        """Train to the end."""
        settings, running = self.settings, self.running
        step = self._step(bank.device)
        batches = Batches(
            bank,
            settings.mixture,
            scale=scale,
            size=settings.batch,
            seed_of=lambda done: derive_seed(settings.seed, "retrain", done),
        )
        held: contextlib.AbstractContextManager[HeldSignals | None]
        held = contextlib.nullcontext() if self._path is None else HeldSignals()  # without a state, nothing is saved
        with self._progress.bar("re-train", settings.iterations, running.done) as bar, held as signals:
            pauses = None if signals is None else Pauses(signals)
            while running.done < settings.iterations:
                step(batches.draw(running.done), learning_rate(settings, running.done))
                running.count()
                bar.advance()
                self._after_step(bar)
                if signals is not None and pauses is not None:
                    self._pause(signals, pauses)

    def _step(self, device: torch.device) -> Step:
        loss = RestorationLoss(self.running.network, self._precision)
        update = Update(self.running, loss, torch.Tensor.backward)
        if device.type == "cuda":
            return CapturedStep(update, CudaGraphRecorder(device), self._progress.note)
        return EagerStep(update)

    def _after_step(self, bar: Bar) -> None:
        """Log and save when due; saving comes last, so that a resumed training repeats what it did not log."""
        if self._is_due(self.settings.log_every):
            self._log(bar)
        if self._is_due(self.settings.checkpoint_every):
            self._save()

    def _pause(self, signals: HeldSignals, pauses: Pauses) -> None:
        """Save some minutes after the last state, and before a signal ends the process."""
        wish = pauses.wish()
        if wish.save or wish.signal:
            self._save(must=bool(wish.signal))
            pauses.saved()
        if wish.signal:
            self._progress.note(
                f"ended at step {self.running.done} of the re-training; its state is saved, and the same command goes "
                "on from it"
            )
            signals.deliver(wish.signal)

    def _is_due(self, every: int) -> bool:
        return self.running.done == self.settings.iterations or self.running.done % every == 0

    def _log(self, bar: Bar) -> None:
        mean = float(self.running.meter.total) / self.running.meter.steps
        if not mean <= WORST_LOSS:  # NaN is not, either
            raise self._diverged(f"the loss is {mean:.3g}")
        self.losses.append((self.running.done, mean))
        bar.describe(f"re-train, L1 {mean:.4f}")
        self.running.meter.reset()

    def _save(self, must: bool = False) -> None:
        """Save the state; where the disk is full and it must not be now, say so and go on."""
        if not self.running.is_finite():
            raise self._diverged("a weight is not finite")
        if self._path is None:
            return
        content = self.running.state(self.running.meter.total) | {"losses": self.losses}
        try:
            save_state(self._path, {"fingerprint": self._fingerprint} | content)
        except FilterlensError as error:
            if must:
                raise
            self._progress.note(f"{error} The training goes on; it tries again in {SAVE_EVERY / 60:g} minutes.")

    def _resume(self) -> None:
        if self._path is None:
            return
        saved = resume(self._path, self._fingerprint, self.running, self.settings.iterations)
        if saved is None:
            return
        try:
            self.losses = [(int(step), float(loss)) for step, loss in saved["losses"]]
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(self._path, error) from error
        self._progress.note(f"resumed '{self._path}' at step {self.running.done}")

    def _diverged(self, evidence: str) -> DivergedError:
        return DivergedError(
            f"Re-training diverged at step {self.running.done}: {evidence}. "
            f"Lower the learning rate (it was {self.settings.learning_rate:g})."
        )
