# SPDX-License-Identifier: Apache-2.0
"""The result of a re-training, and how it becomes an ordinary checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from filterlens.errors import UsageError
from filterlens.models.checkpoints import save_network
from filterlens.pair import ModelPair
from filterlens.retraining.settings import RetrainSettings

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
