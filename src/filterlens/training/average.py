# SPDX-License-Identifier: Apache-2.0
"""The moving average of the weights, which is what a training saves in the end."""

import copy
from collections.abc import Mapping
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

    def state(self, count: int) -> dict[str, Tensor]:
        """Return the weights after ``count`` updates."""
        weights = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        return {"n_averaged": torch.tensor(count)} | weights

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state` returned."""
        self.module.load_state_dict(
            {name.removeprefix("module."): value for name, value in state.items() if name != "n_averaged"}
        )
