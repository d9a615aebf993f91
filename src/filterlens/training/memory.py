# SPDX-License-Identifier: Apache-2.0
"""A check, before anything is allocated, that a training fits into the machine's memory."""

import contextlib
import copy
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from filterlens.errors import UsageError
from filterlens.execution.memory import memory_in_all
from filterlens.models.architectures import TooLargeError, build
from filterlens.training.recipe import Recipe

COPIES = 5  # of every weight, in float32: itself, its gradient, two moments of Adam, the average
PATCH_BYTES = 23  # a pixel of a batch: its place as int64, three channels as uint8 and as float32


@dataclass(frozen=True)
class Demand:
    """The memory that a training needs.

    Attributes:
        title: The name that errors use.
        network: Only the shapes of its weights matter; see :func:`shape_of`.
        batch: Samples a step, in this process.
        patch: Side of the HR patches.
        scale: HR size over LR size.
        trained: Whether all weights are trained.
        size: The settings that make the network large, for errors.
    """

    title: str
    network: nn.Module
    batch: int
    patch: int
    scale: int
    trained: bool = True
    size: str = ""

    @property
    def weights(self) -> int:
        """Bytes of the weights and of what is kept for each."""
        return (COPIES if self.trained else 1) * 4 * sum(weight.numel() for weight in self.network.parameters())

    @property
    def samples(self) -> int:
        """Bytes of a batch and of what the layers give for it; bf16 has two bytes a number."""
        return self.batch * (self.patch**2 * PATCH_BYTES + 2 * _values_per_sample(self))

    def check(self, device: torch.device) -> None:
        """Refuse a batch, a patch or a network that would surely not fit.

        What is estimated is less than what is needed, so that nothing is refused that would run.

        Raises:
            UsageError: With the setting, what it needs, and what there is.
        """
        there, weights = memory_in_all(device), self.weights
        if weights > there:
            raise UsageError(
                f"{self.title}: training {self.size or 'this network'} needs about {_gib(weights)}, but {device} has "
                f"{_gib(there)}. Make the network smaller."
            )
        needed = weights + self.samples
        if needed > there:
            raise UsageError(
                f"{self.title}: batch = {self.batch} with patch = {self.patch} needs about {_gib(needed)}, but "
                f"{device} has {_gib(there)}. Lower one of them."
            )


def demand_of(recipe: Recipe, processes: int = 1, given: nn.Module | None = None) -> Demand:
    """Return what a recipe keeps in memory.

    Args:
        recipe: The settings.
        processes: They share the batch.
        given: The network, where none is built.
    """
    views = 2 if recipe.architecture == "dasr" else 1
    options = ", ".join(f"{name} = {value}" for name, value in recipe.network.items())
    network = shape_of(given) if given is not None else _built_shape(recipe)
    batch = views * max(1, recipe.batch // processes)
    title = f"Recipe '{recipe.name}'"
    return Demand(title, network, batch, recipe.patch, recipe.scale, size=options and f"a network of {options}")


def shape_of(network: nn.Module) -> nn.Module:
    """Return a copy whose weights have shapes but no content."""
    return copy.deepcopy(network).to("meta")


def _built_shape(recipe: Recipe) -> nn.Module:
    once = {"loops": 1} if recipe.architecture == "dan" else {}  # only the last loop is kept for the gradient
    try:
        with torch.device("meta"):
            return build(recipe.architecture, **recipe.options | once)
    except TooLargeError as error:
        sizes = ", ".join(f"{name} = {value}" for name, value in recipe.network.items())
        raise UsageError(f"Recipe '{recipe.name}': a network of {sizes}: {error}") from error


@torch.no_grad()
def _values_per_sample(demand: Demand) -> int:
    """Count the numbers that the layers give for one patch; 0 where that cannot be told without computing."""
    network, counted = copy.deepcopy(demand.network), [0]

    def count(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            counted[0] += output.numel()

    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    side = demand.patch // demand.scale
    with contextlib.suppress(Exception), warnings.catch_warnings():  # other people's code, on tensors without content
        warnings.simplefilter("ignore")
        network.eval()(torch.empty(1, 3, side, side, device="meta"))
        return counted[0]
    return 0


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g} GiB"
