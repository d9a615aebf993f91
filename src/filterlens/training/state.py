# SPDX-License-Identifier: Apache-2.0
"""The state of a training: weights, their average, Adam and the loss; written to a file and read back."""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """Exponential moving average of the weights of a network.

    Its state is that of torch's ``AveragedModel``, whose own update waits for the device to read a counter; here the
    caller counts.

    Args:
        network: Copied; the average lives on its device.
        decay: Share of the average that an update keeps.

    Attributes:
        module: A network with the averaged weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(network)
        self._move = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def update(self, network: nn.Module, count: int) -> None:
        """Move towards the weights of ``network`` after ``count`` earlier updates; the first one takes them over."""
        averages, weights = list(self.module.parameters()), list(network.parameters())
        if count:
            self._move(averages, weights, count)
        else:
            for average, weight in zip(averages, weights, strict=True):
                average.copy_(weight)
        for copied, buffer in zip(self.module.buffers(), network.buffers(), strict=True):
            copied.copy_(buffer)

    def content(self, count: int) -> dict[str, Tensor]:
        """Return the weights after ``count`` updates."""
        weights = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        return {"n_averaged": torch.tensor(count)} | weights

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`content` returned."""
        self.module.load_state_dict(
            {name.removeprefix("module."): value for name, value in state.items() if name != "n_averaged"}
        )


class LossMeter:
    """Sum of the losses since the last log line, without waiting for the device at every step, and the speed.

    Attributes:
        total: Sum of the losses added, a scalar on the device; always the same tensor.
        steps: Number of the losses added.
    """

    def __init__(self, device: torch.device) -> None:
        self.total = torch.zeros((), device=device)
        self.steps = 0
        self.restart_clock()

    def add(self, loss: Tensor) -> None:
        """Add the loss of one step, on the device."""
        self.total += loss.detach()

    def count(self) -> None:
        """Count one step."""
        self.steps += 1
        self._timed += 1

    @property
    def steps_per_second(self) -> float:
        """Speed since the clock was restarted."""
        return self._timed / max(time.monotonic() - self._clock, 1e-9)

    def reset(self) -> None:
        """Begin a new sum and a new time."""
        self.total.zero_()
        self.steps = 0
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave the time until now out of the speed."""
        self._timed, self._clock = 0, time.monotonic()


@dataclass
class TrainingState:
    """Everything that changes while a stage trains.

    Attributes:
        network: The weights that Adam moves.
        average: Their exponential moving average, which is saved in the end.
        optimizer: Adam.
        meter: The loss since the last log line.
        done: Number of steps done.
        training_only: Modules that only the training needs (DASR's contrast): Adam moves them too, and only
            checkpoints hold them.
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
        cls,
        network: nn.Module,
        device: torch.device,
        *,
        betas: tuple[float, float],
        ema: float,
        training_only: nn.Module | None = None,
    ) -> "TrainingState":
        """Put the network on the device, ready for its first step.

        Args:
            network: Network, all of whose parameters are trained.
            device: Device to train on.
            betas: Adam's decay rates.
            ema: Decay of the moving average.
            training_only: Modules as in :class:`TrainingState`.
        """
        network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.requires_grad_(True).train()
        weights = list(network.parameters())
        if training_only is not None:
            training_only.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
            weights += [weight for weight in training_only.parameters() if weight.requires_grad]
        optimizer = torch.optim.Adam(weights, betas=betas, fused=True)
        return cls(network, MovingAverage(network, ema), optimizer, LossMeter(device), training_only=training_only)

    def count(self) -> None:
        """Count one step."""
        self.done += 1
        self.meter.count()

    def content(self, loss_total: Tensor) -> dict[str, Any]:
        """Return everything that the next step depends on; ``loss_total`` is the meter's, over all processes."""
        state = {
            "step": self.done,
            "network": self.network.state_dict(),
            "average": self.average.content(self.done),
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
        """Take over what :meth:`content` returned; anything else raises whatever is wrong with it."""
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
