# SPDX-License-Identifier: Apache-2.0
"""Edits of two-branch networks: branches as masks, targets with branches or filters of the baseline, and the rest."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from filterlens.attribution.result import Attribution
from filterlens.data.samples import Sample
from filterlens.evaluation.function_distance import preservation, removal
from filterlens.evaluation.statistics import Array, Estimate, bootstrap, pooled_ratio, two_level_mean
from filterlens.filters import FilterSpace, Selection, ranking
from filterlens.metrics import psnr
from filterlens.models.branches import CONDITIONING, DEGRADATION, RESTORATION, filter_branches, parameter_branch
from filterlens.models.checkpoints import load_network
from filterlens.pair import ModelPair
from filterlens.paper.laboratory import Laboratory, TargetModel

CONVOLUTIONS, LINEAR, NORMS, BIASES = "convolutions", "linear layers", "batch normalisation", "biases"
TYPES = (CONVOLUTIONS, LINEAR, NORMS, BIASES)
FAIG, RANDOM = "faig", "random"
BASELINE, TARGET = "baseline", "target"
ALONE = f"all but the {DEGRADATION} branch"
CONSTANT = f"nothing; the {DEGRADATION} branch answers the same for every image"
OWN_STATISTICS = f"the {DEGRADATION} branch, own statistics"
EVERYTHING = "everything, own statistics"
MEASURES = ("to_baseline", "to_target", "scale", "psnr")  # of an edited output E: ‖E − B‖², ‖E − T‖², ‖T − B‖², dB


@dataclass(frozen=True, eq=False)
class Branches:
    """Where every filter and every parameter of a network belongs.

    Attributes:
        names: Names of the branches; a plain network has ``restoration`` alone.
        space: The filters.
        of_filters: Branch of every filter, ``(filters,)`` int64.
        of_parameters: Branch of every parameter, flat ``(parameters,)`` int64.
        types: Place in :data:`TYPES` of every parameter, ``(parameters,)`` int64.
    """

    names: tuple[str, ...]
    space: FilterSpace
    of_filters: Tensor
    of_parameters: Tensor
    types: Tensor

    @classmethod
    def of(cls, pair: ModelPair, architecture: str, options: Mapping[str, Any]) -> "Branches":
        """Return the branches of a network: of a filter by what it reads, of any other parameter by its module."""
        names, of_filters = filter_branches(pair.space, architecture, options)
        branch_of = {name: parameter_branch(name, architecture) for name in pair.unflatten(pair.target)}
        whole = {name: torch.tensor(names.index(branch)) for name, branch in branch_of.items()}
        of_parameters = pair.flatten(whole | pair.space.spread(of_filters))
        return cls(names, pair.space, of_filters, of_parameters, _types(pair))

    def place(self, name: str) -> int:
        """Return the number of a branch."""
        return self.names.index(name)

    def parameters(self, name: str) -> Tensor:
        """Return the mask over all parameters of a branch, ``(parameters,)`` bool."""
        return self.of_parameters == self.place(name)

    def top(self, scores: Tensor, percent: float, branch: str | None = None) -> Selection:
        """Return the best filters of one branch, as many as ``percent`` % of all filters, or all that it has."""
        anywhere = Selection.top(self.space, scores, percent)
        if branch is None:
            return anywhere
        ranked = ranking(scores)
        inside = ranked[self.of_filters[ranked] == self.place(branch)]
        return Selection(self.space, inside[: len(anywhere)])

    @cached_property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """The pairs (layer, branch) that hold filters, in the order of layers; a layer may serve two branches."""
        return tuple(divmod(int(code), len(self.names)) for code in torch.unique(self._codes))

    @cached_property
    def group_of_filters(self) -> Tensor:
        """Place in :attr:`groups` of every filter, ``(filters,)`` int64."""
        return torch.searchsorted(torch.unique(self._codes), self._codes)

    @cached_property
    def digest(self) -> str:
        """Hash of what belongs where."""
        found = hashlib.sha256(repr(self.names).encode())
        for places in (self.of_parameters, self.types):
            found.update(places.to("cpu", torch.uint8).numpy().tobytes())
        return found.hexdigest()[:24]

    @property
    def _codes(self) -> Tensor:
        return self.space.layer_index * len(self.names) + self.of_filters


def _types(pair: ModelPair) -> Tensor:
    modules = dict(pair.network(pair.target).named_modules())

    def type_of(name: str) -> str:
        owner, _, last = name.rpartition(".")
        if isinstance(modules[owner], nn.modules.batchnorm._NormBase):
            return NORMS
        return BIASES if last == "bias" else LINEAR if isinstance(modules[owner], nn.Linear) else CONVOLUTIONS

    return pair.flatten({name: torch.tensor(TYPES.index(type_of(name))) for name in pair.unflatten(pair.target)})


@dataclass(frozen=True, eq=False)
class Edited:
    """One edited target.

    Attributes:
        name: Name in tables.
        mask: Parameters at the baseline's values, flat ``(parameters,)`` bool.
        buffers: Buffers at the baseline's values (running statistics), by name.
        answers: Module → its output for every image, in place of what it computes.
    """

    name: str
    mask: Tensor
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    answers: Mapping[str, Tensor] = field(default_factory=dict)

    def network(self, pair: ModelPair) -> nn.Module:
        """Return the edited network."""
        network = pair.network(torch.where(self.mask.to(pair.device), pair.baseline, pair.target))
        for name, value in self.buffers.items():
            network.get_buffer(name).copy_(value)
        for name, answer in self.answers.items():
            network.get_submodule(name).register_forward_hook(
                lambda _module, _inputs, output, answer=answer: answer.to(output).expand_as(output)
            )
        return network

    @property
    def digest(self) -> str:
        """Hash of what is replaced."""
        found = hashlib.sha256(np.packbits(self.mask.cpu().numpy()).tobytes())
        for what in (self.buffers, self.answers):
            for name, value in what.items():
                found.update(name.encode() + value.cpu().numpy().tobytes())
        return found.hexdigest()[:24]


def whole(branch: str) -> str:
    """Return the name of the edit that puts a whole branch back."""
    return f"the {called(branch)}"


def called(branch: str) -> str:
    """Return what sentences call a branch."""
    return branch if branch == CONDITIONING else f"{branch} branch"


def found_in(percent: float, kind: str, branch: str | None = None) -> str:
    """Return the name of the edit that puts the found filters back, anywhere or in one branch."""
    return f"{percent:g} % for {kind}" + ("" if branch is None else f", {branch} branch only")


def at_random(percent: float, kind: str) -> str:
    """Return the name of the control of :func:`found_in`."""
    return f"{percent:g} % at random, for {kind}"


def edits_of(
    model: TargetModel, branches: Branches, found: Mapping[str, Attribution], percent: float, answer: Tensor
) -> list[Edited]:
    """Return all edits of a target model.

    Args:
        model: The networks.
        branches: Branches of its parameters.
        found: The rankings by FAIG and at random.
        percent: Share of the filters that is put back.
        answer: The degradation branch's answer to every image; see :func:`mean_answers`.
    """
    masks = {whole(name): branches.parameters(name) for name in branches.names}
    masks[ALONE] = ~branches.parameters(DEGRADATION)
    for kind in found[FAIG].degradations:
        for branch in (None, DEGRADATION, RESTORATION):
            top = branches.top(found[FAIG].of(kind), percent, branch)
            masks[found_in(percent, kind, branch)] = model.pair.weight_mask(top.mask)
        masks[at_random(percent, kind)] = model.pair.weight_mask(found[RANDOM].select(kind, percent).mask)
    plain = [Edited(name, mask) for name, mask in masks.items()]
    nothing = torch.zeros_like(masks[ALONE])
    says_one_thing = Edited(CONSTANT, nothing, answers={degradation_module(model.pair, branches): answer})
    return [*plain, says_one_thing, *_with_statistics(model, masks[whole(DEGRADATION)])]


def _with_statistics(model: TargetModel, degradation: Tensor) -> Iterator[Edited]:
    """Yield the edits in which the baseline's running statistics come along, where a network has such."""
    buffers = baseline_buffers(model)
    if buffers:
        yield Edited(OWN_STATISTICS, degradation, buffers)
        yield Edited(EVERYTHING, torch.ones_like(degradation), buffers)


def baseline_buffers(model: TargetModel) -> dict[str, Tensor]:
    """Return the buffers that differ in the baseline's own file: running statistics, for which a pair has the target's.

    Nothing where the pair does not say which file its baseline is.
    """
    path = model.pair.facts.get("baseline", {}).get("path")
    if path is None:
        return {}
    known = dict(model.pair.network(model.pair.target).named_buffers())
    found = dict(load_network(path).network.named_buffers())
    return {
        name: value.to(model.pair.device)
        for name, value in found.items()
        if value.is_floating_point() and not torch.equal(value.to(known[name]), known[name])
    }


def degradation_module(pair: ModelPair, branches: Branches) -> str:
    """Return the name of the module that is the degradation branch."""
    places = pair.unflatten(branches.of_parameters)
    return next(
        name.split(".")[0] for name, place in places.items() if bool((place == branches.place(DEGRADATION)).all())
    )


def mean_answers(
    laboratory: Laboratory, branches: Branches, models: Sequence[TargetModel], samples: Sequence[Sample]
) -> list[Tensor]:
    """Return the answer of each target's degradation branch, averaged over images and inputs, ``(numbers,)``."""
    inputs = {kind: str(degradation) for kind, degradation in laboratory.inputs.items()}
    found = laboratory.measured(
        "branch-answers",
        models,
        samples,
        lambda model: [model.identity, branches.digest, inputs],
        lambda model, sample: {"answers": _answers(laboratory, branches, model.pair, sample)},
        title=lambda model: model.title,
    )
    return [torch.tensor(each, dtype=torch.float32).flatten(0, 1).mean(0) for each in found["answers"]]


@torch.no_grad()
def _answers(laboratory: Laboratory, branches: Branches, pair: ModelPair, sample: Sample) -> list[list[float]]:
    """Return what the target's degradation branch says of one image, ``(inputs, numbers)``."""
    network = pair.network(pair.target)
    said: dict[str, Tensor] = {}
    network.get_submodule(degradation_module(pair, branches)).register_forward_hook(
        lambda _module, _inputs, output: said.update(last=output)  # of several loops the last one counts
    )
    answers = []
    truth = sample.truth(pair.scale).to(pair.device, pair.dtype)
    for degradation in laboratory.inputs.values():
        network(degradation.apply(truth, pair.scale, seed=laboratory.common.seed))
        answers.append(said["last"][0].tolist())
    return answers


@dataclass(frozen=True, eq=False)
class Effects:
    """What every edit did, per target model and image.

    Attributes:
        values: (edit, input, one of :data:`MEASURES`) → ``(models, images)``; both networks are among the edits.
        resamples: Draws of every bootstrap.
    """

    values: Mapping[tuple[str, str, str], Array]
    resamples: int

    @property
    def edits(self) -> list[str]:
        """Names of all edits, the two networks among them."""
        return list(dict.fromkeys(edit for edit, _, _ in self.values))

    def removed(self, edit: str, kind: str) -> Estimate:
        """Return R = 1 − ‖E − B‖² / ‖T − B‖²: 1 where nothing is left of what fine-tuning taught on that input."""
        return bootstrap(self._share(edit, kind, "to_baseline"), self._images, resamples=self.resamples)

    def kept(self, edit: str, kind: str) -> Estimate:
        """Return P = 1 − ‖E − T‖² / ‖B − T‖²: 1 where everything is left of it."""
        return bootstrap(self._share(edit, kind, "to_target"), self._images, resamples=self.resamples)

    def removed_more(self, edit: str, other: str, kind: str) -> Estimate:
        """Return R of one edit minus R of another, paired over images and target models."""
        first, second = (self._share(each, kind, "to_baseline") for each in (edit, other))
        return bootstrap(lambda counts: first(counts) - second(counts), self._images, resamples=self.resamples)

    def psnr(self, edit: str, kind: str) -> Estimate:
        """Return the PSNR in dB."""
        return two_level_mean(self.values[edit, kind, "psnr"], resamples=self.resamples)

    def gain(self, kind: str) -> Estimate:
        """Return by how many dB the target is better than the baseline, paired."""
        return two_level_mean(self._above_baseline(TARGET, kind), resamples=self.resamples)

    def gain_left(self, edit: str, kind: str) -> Estimate:
        """Return which part of the target's gain in dB an edited network still has: 1 all, 0 none, below 0 broken."""
        edited, target = (self._above_baseline(name, kind) for name in (edit, TARGET))

        def part(counts: Array, otherwise: Any) -> Array:
            gained, left = counts @ target.T, counts @ edited.T
            return np.asarray(np.divide(left, gained, out=np.full(gained.shape, otherwise), where=gained > 0))

        value = part(np.ones((1, self._images)), np.nan)[0]
        if np.isnan(value).any():  # a target that gained nothing has no part of it left
            return Estimate(float("nan"))
        return bootstrap(lambda counts: part(counts, value), self._images, value=value, resamples=self.resamples)

    @property
    def _images(self) -> int:
        return int(next(iter(self.values.values())).shape[1])

    def _above_baseline(self, edit: str, kind: str) -> Array:
        return np.asarray(self.values[edit, kind, "psnr"] - self.values[BASELINE, kind, "psnr"])

    def _share(self, edit: str, kind: str, residual: str) -> Callable[[Array], Array]:
        top, bottom = (self.values[edit, kind, name].T for name in (residual, "scale"))
        return lambda counts: pooled_ratio(counts @ top, counts @ bottom)


def effects_of(
    laboratory: Laboratory, edited: Sequence[tuple[TargetModel, Sequence[Edited]]], samples: Sequence[Sample]
) -> Effects:
    """Judge the edits of every target model on every image and input, in float32."""
    inputs = {kind: str(degradation) for kind, degradation in laboratory.inputs.items()}
    found = laboratory.measured(
        "branch-swaps",
        edited,
        samples,
        lambda each: [each[0].identity, [[edit.name, edit.digest] for edit in each[1]], inputs],
        lambda each, sample: _effects(laboratory, each[0].pair, each[1], sample),
        title=lambda each: each[0].title,
    )
    names = [BASELINE, TARGET, *(each.name for each in edited[0][1])]
    values = {
        (name, kind, what): found[what][:, :, place, number]
        for place, kind in enumerate(inputs)
        for number, name in enumerate(names)
        for what in MEASURES
    }
    return Effects(values, laboratory.common.resamples)


@torch.no_grad()
def _effects(
    laboratory: Laboratory, pair: ModelPair, edits: Sequence[Edited], sample: Sample
) -> dict[str, list[list[float]]]:
    """Return each of :data:`MEASURES` of baseline, target and all edits on one image, ``(inputs, networks)``."""
    found: dict[str, list[list[float]]] = {what: [] for what in MEASURES}
    truth = sample.truth(pair.scale).to(pair.device, pair.dtype)
    for degradation in laboratory.inputs.values():
        lowered = degradation.apply(truth, pair.scale, seed=laboratory.common.seed)
        baseline, target = (pair.run(vector, lowered) for vector in (pair.baseline, pair.target))
        images = lowered.contiguous(memory_format=torch.channels_last)  # as the pair runs its networks
        rows = []
        for output in (baseline, target, *(each.network(pair)(images) for each in edits)):
            to_baseline, scale = removal(output, baseline, target)
            to_target, _ = preservation(output, baseline, target)
            rows.append((to_baseline, to_target, scale, float(psnr(output, truth, crop=pair.scale))))
        for what, values in zip(MEASURES, zip(*rows, strict=True), strict=True):
            found[what].append(list(values))
    return found
