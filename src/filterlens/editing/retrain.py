# SPDX-License-Identifier: Apache-2.0
"""Re-train a part of the baseline on one degradation, to see how much the found filters alone can do."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from filterlens.data.pair_patches import PairBank, PairSets, digest_of
from filterlens.data.patches import PatchBank
from filterlens.degradations.randomness import derive_seed
from filterlens.editing.retrain_settings import RetrainSettings
from filterlens.editing.trained_part import TrainableWeights, TrainedPart
from filterlens.errors import UsageError
from filterlens.models.checkpoints import save_network
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Bar, Progress
from filterlens.training.batches import Batches
from filterlens.training.checkpointing import damaged
from filterlens.training.loop import DivergedError, Loop
from filterlens.training.losses import RestorationLoss
from filterlens.training.memory import Demand, shape_of
from filterlens.training.processes import OneProcess
from filterlens.training.state import TrainingState

WORST_LOSS = 10.0  # ten times the range of an image: nothing comes back from there
ROLE = "re-trained baseline"


@dataclass(frozen=True, eq=False)
class Retrained:
    """A re-trained baseline.

    Attributes:
        parameters: Flat ``(parameters,)`` on the pair's device; ``pair.network(parameters)`` is the network.
        trained_weights: Number of trained numbers.
        part: Description of the trained part.
        settings: The settings of the training.
        losses: (step, mean L1 since the entry before), of the whole training, also of a resumed one.
        precision: ``fp32`` or ``bf16``.
        fingerprint: Hash of everything that decides the numbers, except the device.
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


def retrain(
    pair: ModelPair,
    trained: TrainedPart,
    settings: RetrainSettings,
    images: Sequence[Tensor],
    *,
    pairs: PairSets | None = None,
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
        trained: Part to train.
        settings: Settings of the training; made by :func:`settings_for`.
        images: HR training images ``(3, H, W)`` uint8.
        pairs: Pairs to train on: alone where the settings have no degradations, else those are one more of theirs.
        state: File from which a killed training resumes, saved at checkpoints, every few minutes, and when a signal
            ends the process; it stays when the training is done, so that the caller can save the result before
            deleting it.
        device: Device to train on; the pair's own by default.
        precision: ``fp32`` or ``bf16`` autocast; the weights stay as they are.
        names: Names of the images, for errors.
        fingerprint: Result of :func:`fingerprint_of` for these arguments, if it is already known.
        progress: Receiver of the progress bar.

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
    shape = shape_of(pair.on_images(pair.baseline))
    Demand("Re-training", shape, settings.batch, settings.patch, pair.scale, trained=False).check(where)
    there = pair.to(where)
    bank = PatchBank(images, settings.patch, where, names)
    of_pairs = PairBank(pairs, settings.patch, pair.scale, where) if pairs else None
    fingerprint = fingerprint or fingerprint_of(pair, trained, settings, images, precision, pairs)
    stage = _Stage(
        trained.trainable(there, settings.seed), settings, bank, pair.scale, pairs=of_pairs,
        file=state, fingerprint=fingerprint, precision=precision, progress=progress,
    )  # fmt: skip
    stage.resume()
    stage.run("re-train")
    average = cast(TrainableWeights, stage.state.average.module)
    return Retrained(
        parameters=average.merged(there).to(pair.device),
        trained_weights=average.trained_weights,
        part=trained.describe(),
        settings=settings,
        losses=tuple(stage.losses),
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
    pair: ModelPair,
    trained: TrainedPart,
    settings: RetrainSettings,
    images: Sequence[Tensor],
    precision: str,
    pairs: PairSets | None = None,
) -> str:
    """Hash everything that decides the numbers of a re-training, except the device."""
    written = {"trained": trained.describe(), "settings": settings.model_dump(mode="json"), "precision": precision}
    digest = hashlib.sha256(json.dumps(written, sort_keys=True).encode())
    buffers = pair.network(pair.baseline).buffers()
    for tensor in (pair.baseline, *buffers, *images):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    if pairs:
        digest.update(digest_of(pairs).encode())
    return digest.hexdigest()


class _Stage(Loop):
    """The one stage of a re-training, whose losses are kept in the state and in the result."""

    def __init__(
        self,
        trainable: TrainableWeights,
        settings: RetrainSettings,
        bank: PatchBank,
        scale: int,
        *,
        pairs: PairBank | None,
        file: Path | None,
        fingerprint: str,
        precision: str,
        progress: Progress,
    ) -> None:
        batches = Batches(
            bank,
            settings.mixture,
            scale=scale,
            size=settings.batch,
            seed_of=lambda done: derive_seed(settings.seed, "retrain", done),
            pairs=pairs,
        )
        super().__init__(
            "re-training",
            settings,
            TrainingState.start(trainable, bank.device, betas=settings.betas, ema=settings.ema),
            RestorationLoss(trainable, precision),
            batches,
            processes=OneProcess(bank.device),
            file=file,
            fingerprint=fingerprint,
            progress=progress,
            log_every=settings.log_every,
            save_every=settings.checkpoint_every,
        )
        self.losses: list[tuple[int, float]] = []

    def resume(self) -> dict[str, Any] | None:
        """Continue from the file, if there is one, with its losses."""
        content = super().resume()
        if content is not None and self.file is not None:
            try:
                self.losses = [(int(step), float(loss)) for step, loss in content["losses"]]
            except (KeyError, TypeError, ValueError) as error:
                raise damaged(self.file, error) from error
        return content

    def log(self, mean: float, bar: Bar) -> None:
        """Keep the loss."""
        if not mean <= WORST_LOSS:  # NaN is not, either
            raise self.diverged(f"the loss is {mean:.3g}")
        self.losses.append((self.state.done, mean))
        bar.describe(f"re-train, L1 {mean:.4f}")

    def more(self) -> dict[str, Any]:
        """Return the losses, which the saved state holds as well."""
        return {"losses": self.losses}

    def diverged(self, evidence: str) -> DivergedError:
        """Build the error for numbers that have diverged."""
        return DivergedError(
            f"Re-training diverged at step {self.state.done}: {evidence}. "
            f"Lower the learning rate (it was {self.stage.learning_rate:g})."
        )
