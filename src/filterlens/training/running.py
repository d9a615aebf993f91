# SPDX-License-Identifier: Apache-2.0
"""What changes while a stage trains, and how it goes into a checkpoint and comes back."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from filterlens.training.average import MovingAverage
from filterlens.training.meter import LossMeter
from filterlens.training.recipe import Recipe


@dataclass
class Running:
    """The moving parts of one stage.

    Attributes:
        network: The weights that Adam moves.
        average: Their exponential moving average, which is what is saved in the end.
        optimizer: Adam.
        meter: The loss since the last log line.
        done: Steps that lie behind.
        training_only: What only the training needs (DASR's contrast): moved by Adam too, saved in checkpoints alone.
        owes_validation: Whether the validation that was due after the last step is still to be made.
    """

    network: nn.Module
    average: MovingAverage
    optimizer: torch.optim.Optimizer
    meter: LossMeter
    done: int = 0
    training_only: nn.Module | None = None
    owes_validation: bool = False

    @classmethod
    def start(
        cls, network: nn.Module, recipe: Recipe, device: torch.device, training_only: nn.Module | None = None
    ) -> "Running":
        """Put the network on the device, ready for its first step."""
        network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.requires_grad_(True).train()
        weights = list(network.parameters())
        if training_only is not None:
            training_only.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
            weights += [weight for weight in training_only.parameters() if weight.requires_grad]
        optimizer = torch.optim.Adam(weights, betas=recipe.betas, fused=True)
        return cls(
            network, MovingAverage(network, recipe.ema), optimizer, LossMeter(device), training_only=training_only
        )

    def count(self) -> None:
        """Count one step."""
        self.done += 1
        self.meter.count()

    def state(self, loss_total: Tensor) -> dict[str, Any]:
        """Return everything that the next step depends on; ``loss_total`` is the meter's, over all processes."""
        state = {
            "step": self.done,
            "network": self.network.state_dict(),
            "average": self.average.state(self.done),
            "optimizer": self._optimizer_state(),
            "meter": {"total": loss_total.cpu(), "steps": self.meter.steps},
        }
        if self.training_only is not None:
            state["training_only"] = self.training_only.state_dict()
        return state | ({"owes_validation": True} if self.owes_validation else {})

    def _optimizer_state(self) -> dict[str, Any]:
        """Return Adam's state as an eager step has it, so that a checkpoint does not say how its steps were run."""
        state = self.optimizer.state_dict()
        for group in state["param_groups"]:
            group.update(lr=float(group["lr"]), capturable=False)
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` returned; anything else raises whatever is wrong with it."""
        self.done = int(state["step"])
        self.owes_validation = bool(state.get("owes_validation"))
        self.network.load_state_dict(state["network"])
        self.average.restore(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._check_moments()
        if self.training_only is not None:
            self.training_only.load_state_dict(state["training_only"])
        if "meter" in state:  # older checkpoints lack it; their next log line then covers the steps since
            self.meter.total.copy_(state["meter"]["total"])
            self.meter.steps = int(state["meter"]["steps"])

    def _check_moments(self) -> None:
        """Torch checks the shapes of weights, but not those of Adam's moments."""
        for weight, moments in self.optimizer.state.items():
            if any(moments[name].shape != weight.shape for name in ("exp_avg", "exp_avg_sq")):
                raise ValueError("a moment of Adam has another shape than its weight")

    def is_finite(self) -> bool:
        """Whether every weight is a number."""
        return bool(torch.stack([weight.isfinite().all() for weight in self.network.parameters()]).all())
