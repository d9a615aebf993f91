# SPDX-License-Identifier: Apache-2.0
"""A baseline and the target fine-tuned from it: two points of one parameter space, and the path between them."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from filterlens.errors import FilterlensError, UsageError
from filterlens.filters import FilterSpace
from filterlens.hardware import autocast
from filterlens.rematerialise import Container, containers_of
from filterlens.tiling import Tiling, tiling_of
from filterlens.units import ROWS


@dataclass(frozen=True)
class _Slot:
    """Where one parameter lies in the flat vector."""

    name: str
    shape: torch.Size
    start: int

    @property
    def stop(self) -> int:
        return self.start + self.shape.numel()


class _Differentiable(nn.Module):
    """A network together with its loss and backward pass, so that all three see the same parameters."""

    def __init__(
        self, network: nn.Module, loss: Callable[[Tensor], Tensor], precision: AbstractContextManager[object]
    ) -> None:
        super().__init__()
        self.network, self.loss, self.precision = network, loss, precision

    def forward(self, images: Tensor, leaf: Tensor) -> tuple[Tensor, Tensor]:
        with self.precision:
            output = self.network(images)
        value = self.loss(output if output.dtype == torch.float64 else output.float())
        (gradient,) = torch.autograd.grad(value, leaf)
        return value.detach(), gradient


class ModelPair:
    """Baseline θ̄ and target θ of one architecture, and the network at any point γ(α) = θ̄ + α(θ − θ̄).

    The user's modules are copied, never touched. All parameters are kept as two flat vectors, so a point on the path
    is one fused interpolation. Buffers (running statistics) are the target's everywhere.

    Args:
        baseline: The network before fine-tuning.
        target: The network after it.
        scale: HR size over LR size; read from ``target.scale`` when absent.
        name: What results call the pair.
        facts: Anything to keep with it for provenance (paths, hashes, cards).
        linear: What a filter of a linear layer is: ``rows``, ``weights`` or ``none``.

    Raises:
        FilterlensError: Different architectures, identical weights, or NaN in them.
        UsageError: The scale is not known.

    Example:
        >>> pair = ModelPair(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), scale=1)
        >>> len(pair.space)
        9
    """

    def __init__(
        self,
        baseline: nn.Module,
        target: nn.Module,
        *,
        scale: int | None = None,
        name: str = "",
        facts: dict[str, Any] | None = None,
        linear: str = ROWS,
    ) -> None:
        _check_same_architecture(baseline, target)
        known = getattr(target, "scale", None) if scale is None else scale
        if not isinstance(known, int) or known < 1:
            raise UsageError(
                "The scale of the pair is not known: pass scale=2 (HR size over LR size; 1 for denoising)."
            )
        self.scale = known
        self.name = name
        self.facts = facts or {}
        self.linear = linear
        self.space = FilterSpace(target, linear)
        self._network = copy.deepcopy(target).eval().requires_grad_(False)
        self._slots = _slots(self._network)
        reference = dict(baseline.named_parameters())
        self.target = _flatten(dict(self._network.named_parameters()), self._slots)
        self.baseline = _flatten(reference, self._slots).to(self.target)
        if not (self.target.isfinite().all() and self.baseline.isfinite().all()):
            which = "target" if not self.target.isfinite().all() else "baseline"
            raise FilterlensError(f"The {which} holds NaN or infinite weights. Take an earlier checkpoint.")
        if torch.equal(self.baseline, self.target):
            raise FilterlensError(
                "Baseline and target have identical weights, so there is no path between them. Check the two files."
            )

    @classmethod
    def load(
        cls,
        baseline: Path | str,
        target: Path | str,
        *,
        architecture: str | None = None,
        scale: int | None = None,
        linear: str = ROWS,
    ) -> "ModelPair":
        """Load a pair from two checkpoints.

        Args:
            baseline: Before fine-tuning; which files, see :func:`filterlens.models.checkpoints.load_network`.
            target: After it.
            architecture: Of both; None reads it off the files.
            scale: Of both; None reads it off the files.
            linear: What a filter of a linear layer is: ``rows``, ``weights`` or ``none``.

        Raises:
            FilterlensError: A file is unreadable, or the two are of different architectures.
        """
        from filterlens.models.checkpoints import load_network

        first = load_network(baseline, architecture, scale)
        second = load_network(target, architecture, scale)
        if (first.architecture, first.options) != (second.architecture, second.options):
            raise FilterlensError(
                f"Baseline '{baseline}' is {first.architecture} {first.options}, but target '{target}' is "
                f"{second.architecture} {second.options}. A pair needs one architecture."
            )
        facts = {
            "architecture": second.architecture,
            "options": second.options,
            "baseline": {"path": str(baseline), "sha256": first.sha256, "card": first.card},
            "target": {"path": str(target), "sha256": second.sha256, "card": second.card},
        }
        facts |= {} if linear == ROWS else {"linear": linear}
        return cls(first.network, second.network, scale=second.scale, facts=facts, linear=linear)

    @classmethod
    def pretrained(cls, name: str = "srresnet-x2") -> "ModelPair":
        """Load a pair that ships inside the package.

        Raises:
            UsageError: No pair of that name ships; the names that do are listed.
        """
        from filterlens.models.pretrained import pair_files

        baseline, target = pair_files(name)
        pair = cls.load(baseline, target)
        pair.name = name
        for role in ("baseline", "target"):
            pair.facts[role]["path"] = f"filterlens:{name}/{role}"
        return pair

    @property
    def change(self) -> Tensor:
        """θ − θ̄ as a flat vector ``(parameters,)``."""
        return self.target - self.baseline

    @property
    def device(self) -> torch.device:
        """Where the pair computes."""
        return self.target.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights."""
        return self.target.dtype

    def to(self, device: torch.device | str) -> "ModelPair":
        """Return the pair on another device."""
        moved = copy.copy(self)
        moved._network = copy.deepcopy(self._network).to(device)
        moved.target, moved.baseline = self.target.to(device), self.baseline.to(device)
        return moved

    def at(self, alpha: float) -> Tensor:
        """Return γ(α) as a flat vector; 0 is the baseline, 1 the target, both exactly."""
        if alpha in (0, 1):
            return (self.target if alpha else self.baseline).clone()
        return torch.lerp(self.baseline, self.target, alpha)

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """View a flat vector as parameters: name → tensor of its shape; differentiable."""
        pieces = torch.split(vector, [slot.stop - slot.start for slot in self._slots])
        return {slot.name: piece.view(slot.shape) for slot, piece in zip(self._slots, pieces, strict=True)}

    def flatten(self, parameters: dict[str, Tensor]) -> Tensor:
        """Join tensors, one per parameter and broadcastable to its shape, into one flat vector."""
        return torch.cat([parameters[slot.name].expand(slot.shape).reshape(-1) for slot in self._slots])

    def run(self, vector: Tensor, images: Tensor, precision: str = "fp32") -> Tensor:
        """Run the network with the given parameters.

        Args:
            vector: Flat parameters ``(parameters,)``, on the pair's device.
            images: LR ``(B, 3, H, W)``.
            precision: ``fp32`` (the weights' own type) or ``bf16`` autocast.

        Returns:
            HR ``(B, 3, H·scale, W·scale)``, not clipped.
        """
        images = images.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)
        with autocast(self.device, precision):
            output: Tensor = functional_call(self._network, self.unflatten(vector), (images,))
        return output if self.dtype == torch.float64 else output.float()

    def differentiate(
        self, vector: Tensor, images: Tensor, loss: Callable[[Tensor], Tensor], precision: str = "fp32"
    ) -> tuple[Tensor, Tensor]:
        """Return loss(F(vector, images)) and its gradient with respect to the parameters.

        The backward pass runs while the network holds the given parameters, so blocks may compute again what they
        did not keep.

        Args:
            vector: Flat parameters.
            images: LR ``(B, 3, H, W)``.
            loss: Maps the output to a scalar.
            precision: As in :meth:`run`; the gradient arrives in the weights' type.

        Returns:
            A scalar, and ``(parameters,)``.
        """
        images = images.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)
        differentiable = _Differentiable(self._network, loss, autocast(self.device, precision))
        with torch.enable_grad():
            leaf = vector.detach().requires_grad_(True)
            parameters = {f"network.{name}": value for name, value in self.unflatten(leaf).items()}
            value, gradient = functional_call(differentiable, parameters, (images, leaf))
        return value, gradient

    @cached_property
    def tiling(self) -> Tiling | None:
        """How large images may be cut into exact tiles; None where they may not. Found out once, in seconds."""
        return tiling_of(self._network, self.scale)

    @property
    def blocks(self) -> list[Container]:
        """The lists of blocks whose activations may be computed twice instead of kept."""
        return containers_of(self._network)

    def network(self, vector: Tensor) -> nn.Module:
        """Return a new network of the architecture with the given flat parameters, in evaluation mode."""
        network = copy.deepcopy(self._network).requires_grad_(True)
        with torch.no_grad():
            for parameter, value in zip(network.parameters(), self.unflatten(vector).values(), strict=True):
                parameter.copy_(value)
        return network

    def weight_mask(self, filters: Tensor, *, biases: bool = False) -> Tensor:
        """Turn a mask over filters ``(filters,)`` into one over the flat parameters; biases in or out."""
        spread = self.space.spread(filters.to(self.device))
        rest = torch.tensor(biases, device=self.device)
        return self.flatten({slot.name: spread.get(slot.name, rest) for slot in self._slots})

    def pool(self, vector: Tensor) -> Tensor:
        """Sum a quantity per weight, given flat, over each filter's slice: ``(parameters,)`` → ``(filters,)``."""
        return self.space.pool(self.unflatten(vector))


def _slots(network: nn.Module) -> tuple[_Slot, ...]:
    slots, start = [], 0
    for name, parameter in network.named_parameters():
        slots.append(_Slot(name, parameter.shape, start))
        start = slots[-1].stop
    return tuple(slots)


def _flatten(parameters: dict[str, nn.Parameter], slots: tuple[_Slot, ...]) -> Tensor:
    return torch.cat([parameters[slot.name].detach().flatten() for slot in slots])


def _check_same_architecture(baseline: nn.Module, target: nn.Module) -> None:
    first = {name: tuple(parameter.shape) for name, parameter in baseline.named_parameters()}
    second = {name: tuple(parameter.shape) for name, parameter in target.named_parameters()}
    if first == second:
        return
    only = sorted(first.keys() ^ second.keys())
    if only:
        side = "baseline" if only[0] in first else "target"
        raise FilterlensError(f"Baseline and target differ in architecture: '{only[0]}' exists in the {side} only.")
    name = next(name for name in first if first[name] != second[name])
    raise FilterlensError(
        f"Baseline and target differ in architecture: '{name}' is {first[name]} in the baseline "
        f"and {second[name]} in the target."
    )
