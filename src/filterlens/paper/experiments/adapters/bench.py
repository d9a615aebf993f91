# SPDX-License-Identifier: Apache-2.0
"""Adapters as users have them: written to a file, measured, read back and put on a base, all before they are judged."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.editing.adapt import adapt
from filterlens.editing.adapter import Adapter
from filterlens.filters import Selection
from filterlens.metrics import psnr
from filterlens.pair import ModelPair
from filterlens.paper.laboratory import TargetModel

Place = tuple[str, float]  # a degradation, and the share of the filters in percent


@dataclass(frozen=True)
class Filed:
    """An adapter that went through a file.

    Attributes:
        adapter: What was read back.
        bytes: Size of the file.
    """

    adapter: Adapter
    bytes: int


def filed(adapter: Adapter) -> Filed:
    """Write an adapter to a file and read it back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter.safetensors"
        adapter.save(path)
        return Filed(Adapter.load(path), path.stat().st_size)


def checkpoint_bytes(pair: ModelPair, vector: Tensor) -> int:
    """Return the size of a network's weights as safetensors, in half precision where that loses nothing."""
    weights = {name: value.cpu().contiguous() for name, value in pair.unflatten(vector).items()}
    halves = {name: value.half() for name, value in weights.items()}
    lossless = all(torch.equal(halves[name].to(value.dtype), value) for name, value in weights.items())
    return len(save({name: value.clone() for name, value in (halves if lossless else weights).items()}))


@dataclass(eq=False)
class Bench:
    """One target model with the adapters that are tried on it.

    Attributes:
        model: Baseline and target.
        selections: Degradation and share → filters.
    """

    model: TargetModel
    selections: Mapping[Place, Selection]

    @cached_property
    def files(self) -> dict[Place, Filed]:
        """Every adapter, through its file."""
        pair = self.model.pair
        return {place: filed(Adapter.of(pair, [selection])) for place, selection in self.selections.items()}

    @cached_property
    def vectors(self) -> dict[Place, dict[str, Tensor]]:
        """Place → ``added`` (the baseline with the adapter at 1) and ``removed`` (the target with it at 0)."""
        pair = self.model.pair
        baseline, target = (pair.network(vector) for vector in (pair.baseline, pair.target))
        return {
            place: {
                "added": flat(pair, adapt(baseline, [(each.adapter, 1.0)])),
                "removed": flat(pair, adapt(target, [(each.adapter, 0.0)])),
            }
            for place, each in self.files.items()
        }

    def sizes(self) -> dict[str, Any]:
        """Return the bytes of the target's weights, and filters and bytes of every adapter, in the places' order."""
        held = [[len(each.adapter), each.bytes] for each in self.files.values()]
        return {"checkpoint": checkpoint_bytes(self.model.pair, self.model.pair.target), "adapters": held}

    @torch.no_grad()
    def judged(
        self, sample: Sample, inputs: Mapping[str, Degradation], *, seed: int, precision: str
    ) -> list[dict[str, Any]]:
        """Return the PSNR of every network on one image: rows of ``what``, ``kind``, ``percent``, ``input``, ``psnr``.

        An adapter is judged on its own degradation and on clean inputs.
        """
        pair, rows = self.model.pair, []
        for given, degradation in inputs.items():
            tried: dict[tuple[str, str, float], Tensor] = {
                (role, "", 0.0): getattr(pair, role) for role in ("baseline", "target")
            }
            for (kind, percent), vectors in self.vectors.items():
                if given in (kind, "clean"):
                    tried |= {(what, kind, percent): vector for what, vector in vectors.items()}
            values = psnr_of(pair, list(tried.values()), sample, degradation, seed=seed, precision=precision)
            rows += [
                {"what": what, "kind": kind, "percent": percent, "input": given, "psnr": value}
                for (what, kind, percent), value in zip(tried, values, strict=True)
            ]
        return rows


def flat(pair: ModelPair, network: torch.nn.Module) -> Tensor:
    """Return a network's parameters as the pair's flat vector."""
    return pair.flatten({name: value.detach() for name, value in network.named_parameters()}).to(pair.target)


def psnr_of(
    pair: ModelPair, vectors: Sequence[Tensor], sample: Sample, degradation: Degradation, *, seed: int, precision: str
) -> list[float]:
    """Degrade one image, restore it with networks given as flat vectors, and compare with the truth, in dB."""
    truth = sample.truth(pair.scale).to(pair.device, pair.dtype)
    lowered = degradation.apply(truth, pair.scale, seed=seed)
    return [float(psnr(pair.run(vector, lowered, precision), truth, crop=pair.scale)) for vector in vectors]
