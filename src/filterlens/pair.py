# SPDX-License-Identifier: Apache-2.0
"""A baseline and the target fine-tuned from it: two points of one parameter space, and the path between them."""

import copy
import hashlib
import json
import logging
import warnings
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from filterlens.arguments import real_number, whole_number
from filterlens.callables import fingerprint_of
from filterlens.errors import FilterlensError, UsageError, printable
from filterlens.execution.hardware import autocast
from filterlens.execution.measured import CHANNELS, RGB, Shape, checked_output, failed, shape_of_images
from filterlens.execution.memory import is_out_of_memory
from filterlens.execution.on_images import Call, Entry, OnImages, checked_call, plain, refuse_more_inputs
from filterlens.execution.own_network import copied, own_ends
from filterlens.execution.rematerialise import Container, containers_of
from filterlens.execution.tiling import Tiling, tiling_of
from filterlens.filters import ROWS, FilterSpace
from filterlens.layout import Layout, check_same_architecture
from filterlens.showing.tables import counted, html_facts

Loss = Callable[[Tensor], Tensor]
_log = logging.getLogger(__name__)
_UNREACHED = "None of the inputs have requires_grad"  # torch's warning where reentrant checkpointing loses gradients
_REENTRANT = (_UNREACHED, "use_reentrant=True")


class _Differentiable(nn.Module):
    """A network together with its loss and backward pass, so that all three see the same parameters.

    Args:
        network: Network to differentiate.
        run: Function that runs it on images.
        loss: Function from its output to a scalar.
        reentrant: Whether parts of it are recomputed by ``checkpoint(…, use_reentrant=True)``, which reaches only
            what ``backward`` reaches from an input that needs a gradient itself.
    """

    def __init__(self, network: nn.Module, run: Callable[..., Tensor], loss: Loss, *, reentrant: bool = False) -> None:
        super().__init__()
        self.network, self.run, self.loss, self.reentrant = network, run, loss, reentrant

    def forward(self, images: Tensor, leaf: Tensor) -> tuple[Tensor, Tensor]:
        output = self.run(self.network, images.requires_grad_(True).clone() if self.reentrant else images)
        if not output.requires_grad:
            raise FilterlensError(
                "The network's output has no gradient with respect to its weights: it computes under no_grad or "
                "inference_mode, or detaches, or returns its input. Let it compute with gradients in evaluation mode."
            )
        value = self.loss(output if output.dtype == torch.float64 else output.float())
        if not self.reentrant:
            return value.detach(), torch.autograd.grad(value, leaf)[0]
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach(), torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


class ModelPair:
    """Baseline θ̄ and target θ of one architecture, and the network at any point γ(α) = θ̄ + α(θ − θ̄).

    The user's modules are copied and never changed; the copies compute in evaluation mode. Wrappers (``DataParallel``,
    ``torch.compile``, ``AveragedModel``) are left out, and so are modules that hold the network as ``model`` or the
    like on one side only (Lightning). All parameters are kept as two flat vectors, so a point on the path is one fused
    interpolation; shared parameters occur once. Both vectors have the widest type of all weights of the two networks,
    at least float32; images and buffers are brought to it. Weights that are computed from others (weight norm, spectral
    norm, parametrizations) are baked in: scores and edits are of the network with plain weights. ``notes`` says where
    any of this happened. Buffers (running statistics) are the target's everywhere.

    Args:
        baseline: Network before fine-tuning.
        target: Network after fine-tuning.
        scale: Ratio of HR size to LR size. It is measured on tiny images, and a given value must agree. Networks that
            accept no tiny image, such as those of a fixed size, need it, or an attribute ``scale`` of the target.
        call: Function (network, images) → image, for networks with more inputs than images (noise level, prompt,
            kernel): ``call=lambda network, x: network(x, sigma)``. What it passes to the network is brought to the type
            and the device of the weights. Parameters keep their own names.
        output: Index or name of the image in a tuple, list or dict that the network returns. Without it the only entry
            that is an image is taken.
        name: Name of the pair in results.
        facts: Provenance to keep with the pair (paths, hashes, cards).
        linear: Filters of a linear layer: ``rows``, ``weights`` or ``none``.

    Raises:
        FilterlensError: Different architectures, identical weights, NaN in them, weights or modules of an unsupported
            kind, or networks that do not map an image to an image.
        UsageError: The scale is wrong, or not known.

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
        call: Call | None = None,
        output: Entry | None = None,
        name: str = "",
        facts: dict[str, Any] | None = None,
        linear: str = ROWS,
    ) -> None:
        checked_call(call, output)
        own = own_ends(baseline, target)
        first, network = own.baseline, own.target
        check_same_architecture(first, network)
        self.name = name
        self.call, self.output = call, output
        self.facts = facts or {}
        self.linear = linear
        self.space = FilterSpace(network, linear)
        self._layout = Layout.of(network, [layer.parameter for layer in self.space.layers])
        self._reentrant = False
        ends = [dict(each.named_parameters(remove_duplicate=False)) for each in (first, network)]
        if call is None:
            refuse_more_inputs(network)
        self._network = network if call is None and output is None else OnImages(network, call, output)
        self.target = self._layout.join(ends[1]).to(own.dtype)
        self.baseline = self._layout.join(ends[0]).to(self.target)
        _check_ends(self.baseline, self.target)
        self._shape = self._measured(scale, getattr(network, "scale", None))
        self.scale = self._shape.scale
        self.notes = own.notes + self._chosen()
        self._record()

    @classmethod
    def load(
        cls,
        baseline: Path | str,
        target: Path | str,
        *,
        architecture: str | None = None,
        scale: int | None = None,
        call: str | None = None,
        linear: str = ROWS,
    ) -> "ModelPair":
        """Load a pair from two checkpoints.

        Args:
            baseline: Checkpoint before fine-tuning; for the formats, see
                :func:`filterlens.models.checkpoints.load_network`.
            target: Checkpoint after fine-tuning.
            architecture: Architecture of both; None takes it from the files.
            scale: Scale of both; None takes it from the files.
            call: Function (network, images) → image through which a network of your own code is called,
                ``package.module:function`` or ``package.module:function,option=value``.
            linear: Filters of a linear layer: ``rows``, ``weights`` or ``none``.

        Raises:
            UsageError: ``call`` is given without a factory of your own, or the scale is not the networks'.
            FilterlensError: A file is unreadable, or the two have different architectures.
        """
        from filterlens.models.checkpoints import load_network
        from filterlens.models.user_module import Factory, is_factory, with_call

        architecture = with_call(architecture, call)
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
        if is_factory(second.architecture) and (named := Factory.parse(second.architecture).call) is not None:
            facts["call"] = fingerprint_of(named.function()).record
        facts |= {} if linear == ROWS else {"linear": linear}
        return cls(first.network, second.network, scale=second.scale, facts=facts, linear=linear)

    @classmethod
    def pretrained(cls, name: str = "srresnet-x2") -> "ModelPair":
        """Load a pair that is shipped with the package.

        Raises:
            UsageError: No shipped pair has that name; the error lists the names.
        """
        from filterlens.models.pretrained import pair_files

        baseline, target = pair_files(name)
        pair = cls.load(baseline, target)
        pair.name = name
        for role in ("baseline", "target"):
            pair.facts[role]["path"] = f"filterlens:{name}/{role}"
        return pair

    def __repr__(self) -> str:
        return f"ModelPair({', '.join(value for _, value in self._facts())})"

    def _repr_html_(self) -> str:
        return html_facts("ModelPair", self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        """Return what there is to say in short."""
        architecture = str(self.facts.get("architecture") or type(plain(self._network)).__name__)
        channels = self.channels_in, self.channels_out
        facts = [("name", f"'{printable(self.name)}'")] if self.name else []
        facts += [
            ("architecture", printable(architecture)),
            ("scale", f"×{self.scale}"),
            ("filters", str(self.space)),
            ("parameters", counted(self.target.numel(), "parameter")),
        ]
        taken = counted(channels[0], "channel") if channels[0] == channels[1] else "{} → {} channels".format(*channels)
        facts += [] if channels == (3, 3) else [("channels", taken)]
        facts += [] if self.dtype == torch.float32 else [("type", str(self.dtype).removeprefix("torch."))]
        return [*facts, ("device", str(self.device))]

    def _chosen(self) -> tuple[str, ...]:
        """Take the only image out of what the network returns; say so."""
        if (entry := self._shape.entry) is None:
            return ()
        self.output = entry
        self._network = OnImages(plain(self._network), self.call, entry)
        return (f"the network returns several things: the only image, output={entry!r}, is taken",)

    def _record(self) -> None:
        """Put into the facts how the network is called, and what had to change."""
        self._called_by: list[Any] = [] if self.output is None else [self.output]
        if self.call is not None:
            known = fingerprint_of(self.call)
            self._called_by.append(known.identity)
            self.facts = self.facts | {"call": known.record}
        elif "call" in self.facts:  # the networks that were loaded have it inside
            self._called_by.append(self.facts["call"])
        if self.output is not None:
            self.facts = self.facts | {"output": self.output}
        if self.notes:
            self.facts = self.facts | {"notes": list(self.notes)}
        for note in self.notes:
            _log.info("%s", note)

    @property
    def change(self) -> Tensor:
        """θ − θ̄ as a flat vector ``(parameters,)``."""
        return self.target - self.baseline

    @property
    def device(self) -> torch.device:
        """The device on which the pair computes."""
        return self.target.device

    @property
    def channels_in(self) -> int:
        """Channels of the images that the networks take: 3 for RGB, 1 for gray; measured like the scale."""
        return self._shape.channels_in

    @property
    def channels_out(self) -> int:
        """Channels of the images that the networks return."""
        return self._shape.channels_out

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the weights."""
        return self.target.dtype

    def to(self, device: torch.device | str) -> "ModelPair":
        """Return the pair on another device."""
        moved = copy.copy(self)
        moved._network = copied(self._network).to(device)
        moved.target, moved.baseline = self.target.to(device), self.baseline.to(device)
        return moved

    def at(self, alpha: float) -> Tensor:
        """Return γ(α) as a flat vector; 0 is the baseline, 1 the target, both exactly.

        Raises:
            UsageError: α is not a number, or takes weights beyond the range of their type.
        """
        alpha = real_number(alpha, "place on the path")
        if alpha in (0, 1):
            return (self.target if alpha else self.baseline).clone()
        fits = abs(alpha) <= torch.finfo(self.dtype).max
        point = torch.lerp(self.baseline, self.target, alpha) if fits else self.target
        if not fits or not (0 < alpha < 1 or point.isfinite().all()):
            raise UsageError(f"{alpha:g} takes weights beyond {self.dtype}: 0 is the baseline, 1 the target.")
        return point

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """View a flat vector as parameters: name → tensor of its shape; differentiable."""
        return self._layout.split(vector)

    def placed(self, vector: Tensor) -> dict[str, Tensor]:
        """View a flat vector as what ``functional_call(…, tie_weights=False)`` puts into the pair's networks."""
        return self._layout.placed(vector)

    def flatten(self, parameters: dict[str, Tensor]) -> Tensor:
        """Join tensors, one per parameter and broadcastable to its shape, into one flat vector."""
        return self._layout.join(parameters)

    def run(self, vector: Tensor, images: Tensor, precision: str = "fp32") -> Tensor:
        """Run the network with the given parameters.

        Args:
            vector: Flat parameters ``(parameters,)``, on the pair's device.
            images: LR images ``(B, channels_in, H, W)``.
            precision: ``fp32`` (the weights' own type) or ``bf16`` autocast.

        Returns:
            HR images ``(B, channels_out, H·scale, W·scale)``, not clipped.

        Raises:
            UsageError: The images are not a batch of floats with the network's channels, or the scale does not hold for
                their size.
            FilterlensError: The network fails on them, or returns no images.
        """
        images = self._own(images)
        call = partial(functional_call, self._network, self.placed(vector.clone()), tie_weights=False)
        output = self._called(precision, call, images)
        return output if self.dtype == torch.float64 else output.float()

    def differentiate(
        self, vector: Tensor, images: Tensor, loss: Loss, precision: str = "fp32"
    ) -> tuple[Tensor, Tensor]:
        """Return loss(F(vector, images)) and its gradient with respect to the parameters.

        The backward pass runs while the network holds the given parameters, so blocks can recompute activations that
        they did not keep.

        Args:
            vector: Flat parameters ``(parameters,)``.
            images: LR images ``(B, channels_in, H, W)``.
            loss: Function from the output to a scalar.
            precision: Precision as in :meth:`run`; the gradient has the weights' type.

        Returns:
            The loss, a scalar, and its gradient ``(parameters,)``.

        Raises:
            UsageError: As in :meth:`run`.
            FilterlensError: As in :meth:`run`, or the output has no gradient.
        """
        run = partial(self._called, precision)
        try:
            with torch.enable_grad(), warnings.catch_warnings():
                if not self._reentrant:
                    warnings.filterwarnings("error", _UNREACHED)
                leaf = vector.detach().clone().requires_grad_(True)
                parameters = {f"network.{name}": value for name, value in self.placed(leaf).items()}
                network = _Differentiable(self._network, run, loss, reentrant=self._reentrant)
                value, gradient = functional_call(network, parameters, (self._own(images), leaf), tie_weights=False)
                return value, gradient
        except (RuntimeError, UserWarning) as error:
            if self._reentrant or not _is_reentrant(error):
                raise
        self._reentrant = True  # known from now on
        return self.differentiate(vector, images, loss, precision)

    def _called(self, precision: str, call: Callable[[Tensor], object], images: Tensor) -> Tensor:
        """Call the network on images that are its own, and check what it returns."""
        with autocast(self.device, precision):
            return checked_output(_guarded(call, images), images, self._shape)

    def _own(self, images: Tensor) -> Tensor:
        """Return images as the network gets them: a copy, as some networks write into it."""
        legal = images.ndim == 4 and len(images) and images.shape[1] == self.channels_in
        if not legal or not images.is_floating_point():
            raise UsageError(
                f"Images must be floats in [0, 1] of shape (batch, {self.channels_in}, height, width), not "
                f"{images.dtype} of {tuple(images.shape)}."
            )
        return images.detach().to(self.device, self.dtype).clone(memory_format=torch.channels_last)

    def _measured(self, given: Any, said: Any) -> Shape:
        """Return measured scale and channels; a network's attribute counts only where nothing can be measured."""
        if given is not None:
            given = whole_number(given, "scale", 1)
        call = partial(functional_call, self._network, self.placed(self.target.clone()), tie_weights=False)
        network = partial(_guarded, call)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", _UNREACHED)
            try:
                found = shape_of_images(network, self.target, given)
                return self._guessed(found.scale) if found.is_guess else found
            except UsageError:
                if given is not None or not isinstance(said, int) or isinstance(said, bool) or said < 1:
                    raise
                return self._guessed(said)

    def _guessed(self, scale: int) -> Shape:
        """Take the channels of the first convolution, where nothing could be measured; running checks them."""
        layers = (each for each in plain(self._network).modules() if isinstance(each, nn.Conv2d))
        into = next((each.in_channels for each in layers if each.in_channels in CHANNELS), RGB)
        return Shape(scale, into, into if into < RGB else RGB)

    @property
    def shape(self) -> Shape:
        """Scale and channels, as every output is checked to have them."""
        return self._shape

    @cached_property
    def tiling(self) -> Tiling | None:
        """How large images can be cut into exact tiles; None where they cannot. Determined once, in seconds."""
        return tiling_of(self._network, self.scale, self.channels_in)

    @cached_property
    def identity(self) -> str:
        """Hash of everything that results depend on: every parameter of both networks, their places, and the scale.

        Networks with buffers (running statistics, DAN's basis) may also have options that no parameter shows.
        """
        digest = hashlib.sha256(repr((self.scale, self.space.layers)).encode())
        for vector in (self.baseline, self.target):
            digest.update(vector.cpu().numpy().tobytes())
        buffers = dict(self._network.named_buffers())
        for name, buffer in buffers.items():
            digest.update(name.encode() + buffer.cpu().contiguous().numpy().tobytes())
        if self._called_by:
            digest.update(json.dumps(self._called_by).encode())
        if buffers:
            digest.update(repr(sorted(self.facts.get("options", {}).items())).encode())
        return digest.hexdigest()

    @property
    def blocks(self) -> list[Container]:
        """The lists of blocks whose activations can be recomputed instead of kept."""
        return containers_of(self._network)

    def network(self, vector: Tensor) -> nn.Module:
        """Return a new network of the architecture with the given flat parameters, in evaluation mode.

        It is the user's, without ``call`` and ``output``: see :meth:`on_images`.
        """
        return plain(self.on_images(vector))

    def on_images(self, vector: Tensor) -> nn.Module:
        """Return the network as :meth:`network` does, but such that it takes images and returns an image.

        Where the pair has neither ``call`` nor ``output``, it is the network itself. Parameters have the same names.
        """
        network = copied(self._network).requires_grad_(True)
        with torch.no_grad():
            for parameter, value in zip(network.parameters(), self.unflatten(vector).values(), strict=True):
                parameter.copy_(value)
        return network

    def weight_mask(self, filters: Tensor, *, biases: float = False) -> Tensor:
        """Give every weight the value of its filter: ``(filters,)``, a mask or numbers, becomes ``(parameters,)``.

        Args:
            filters: Value of each filter, ``(filters,)``.
            biases: Value of all biases (and other weights outside filters).
        """
        spread = self.space.spread(filters.to(self.device))
        rest = torch.tensor(biases, dtype=filters.dtype, device=self.device)
        return self.flatten({slot.name: spread.get(slot.name, rest) for slot in self._layout.slots})

    def pool(self, vector: Tensor) -> Tensor:
        """Sum a flat quantity per weight over each filter's slice: ``(parameters,)`` → ``(filters,)``."""
        return self.space.pool(self.unflatten(vector))


def between(low: Tensor, high: Tensor, strengths: Tensor) -> Tensor:
    """Return low + strengths · (high − low), number by number: 0 is ``low`` and 1 is ``high``, both bit by bit."""
    strengths = strengths.to(low)
    point = torch.lerp(low, high, strengths)
    return torch.where(strengths == 1, high, torch.where(strengths == 0, low, point))


def _guarded(call: Callable[[Tensor], object], images: Tensor) -> object:
    """Run a network; its errors become one line, except those after which the caller can try something else."""
    try:
        return call(images)
    except FilterlensError:
        raise
    except Exception as error:  # of the network's code
        if is_out_of_memory(error) or _is_reentrant(error):
            raise
        raise failed(images, error) from error


def _is_reentrant(error: BaseException) -> bool:
    return any(words in str(error) for words in _REENTRANT)


def _check_ends(baseline: Tensor, target: Tensor) -> None:
    for role, vector in (("target", target), ("baseline", baseline)):
        if not vector.isfinite().all():
            raise FilterlensError(f"The {role} holds NaN or infinite weights. Take an earlier checkpoint.")
    if torch.equal(baseline, target):
        raise FilterlensError(
            "Baseline and target have identical weights, so there is no path between them. Check the two files."
        )
