# SPDX-License-Identifier: Apache-2.0
"""The processes of a training: those of a launcher, which share every batch, or this one alone."""

from typing import Any, TypeAlias

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor

from filterlens.training.recipe import Recipe


class OneProcess:
    """This process alone, whatever launched it: what a training asks of accelerate's ``Accelerator``, and no others.

    Args:
        device: Device to train on.
    """

    num_processes, process_index, is_main_process = 1, 0, True

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def prepare(self, module: Any) -> Any:
        """Return a module as it is: its gradients are not shared."""
        return module

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of a loss."""
        loss.backward()  # type: ignore[no-untyped-call]

    def reduce(self, value: Tensor, how: str) -> Tensor:
        """Return a value as it is, whatever its mean over one process is called."""
        return value

    def gather(self, value: Tensor) -> Tensor:
        """Return the values of all processes, which are this one's."""
        return value

    def wait_for_everyone(self) -> None:
        """Return at once: there is no other process."""


TrainingProcesses: TypeAlias = Accelerator | OneProcess


def of_launcher(recipe: Recipe, device: torch.device | None) -> Accelerator:
    """Return the processes that ``torchrun`` or ``accelerate launch`` started; without them, this one."""
    some_unused = recipe.architecture == "dasr" or recipe.is_foreign
    unused = [DistributedDataParallelKwargs(find_unused_parameters=True)] if some_unused else []
    on_cpu = device is not None and device.type == "cpu"
    return Accelerator(cpu=on_cpu, mixed_precision="no", kwargs_handlers=unused)
