# SPDX-License-Identifier: Apache-2.0
"""The sets of weights in a checkpoint: their keys and prefixes, and the order in which they are tried.

One rule for all kinds of files. Keys of containers and the parts of dotted names are steps of one path, so
``{"params": {"module.conv.weight": …}}`` in a pickle is what ``params.module.conv.weight`` is in a safetensors file.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

from torch import Tensor

from filterlens.errors import FilterlensError
from filterlens.models.loading import UnfitError

Steps = tuple[str, ...]

AVERAGE, KNOWN, OTHER = 0, 1, 2
_AVERAGES = {"ema", "average", "averaged", "avg", "shadow", "emamodel", "modelema"}
_PLAIN = (
    "params", "state_dict", "model_state_dict", "model_state", "model", "net_g", "netg", "generator", "gen", "g",
    "network", "network_g", "net", "weights", "backbone", "student", "online_model", "sr_model", "module", "_orig_mod",
)  # fmt: skip
_ASIDE = re.compile(
    r"(?i)optim|schedul|scaler|discrim|^net_?d|^d(_|$)|loss|criterion|percept|teacher|callback|loops|^rng"
)
_COUNTERS = {"n_averaged", "initted", "step", "num_updates", "decay", "total_ops", "total_params", "global_step"}
_COUNTERS |= {"epoch", "iter", "iteration", "it", "steps"}
_DEEPEST, _MOST_SETS, _MOST_ENTRIES = 8, 64, 1_000_000


@dataclass(frozen=True, eq=False)
class WeightSet:
    """Tensors that may be all of a network's.

    Attributes:
        path: Steps that lead to them in the file.
        tensors: Name → tensor, without these steps; as in the file.
        source: The file, for messages.
        keys: Number of steps that are keys of containers; the others are prefixes of names.
        left_out: Counters, which are no weights.
    """

    path: Steps
    tensors: Mapping[str, Tensor]
    source: str
    keys: int = 0
    left_out: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        """``AVERAGE``, ``KNOWN`` or ``OTHER``, by the names of the steps."""
        if any(map(_is_average, self.path)):
            return AVERAGE
        return KNOWN if all(step.lower() in _PLAIN for step in self.path) else OTHER

    @property
    def name(self) -> str:
        """Its steps, with dots."""
        return ".".join(self.path)

    @property
    def prefix(self) -> str:
        """Common beginning of the names in the file; empty where the names are the network's own."""
        return "".join(f"{step}." for step in self.path[self.keys :])

    @cached_property
    def places(self) -> frozenset[str]:
        """Paths of its tensors in the file: all steps, with dots."""
        return frozenset(".".join((*self.path, name)) for name in self.tensors)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Name → tensor, plain and in float32.

        Raises:
            UnfitError: A tensor is quantised, sparse, or without numbers.
        """
        return {name: _plain(name, tensor, self.source) for name, tensor in self.tensors.items()}


def weight_sets(content: Any, source: str) -> list[WeightSet]:
    """Return the sets of weights that a file may hold, in the order in which they are to be tried.

    Averages come before their originals, sets with a usual name before others, and names as they are before names
    without a prefix. States of optimisers, counters and everything that is no tensor are left out.

    Args:
        content: Content of the file: tensors in nested containers.
        source: The file, for messages.

    Raises:
        FilterlensError: It holds no tensors, or two under one name.
    """
    tensors: dict[Steps, Tensor] = {}
    containers: set[Steps] = set()
    for path, value in _entries(content, source):
        if value is None:
            containers.add(path)
        elif path in tensors:
            raise FilterlensError(f"'{source}' holds two tensors called '{'.'.join(path)[:100]}'.")
        else:
            tensors[path] = value
    if not tensors:
        raise _nothing(content, source)
    found = list(islice(_sets(tensors, containers, (), source), _MOST_SETS))
    found.sort(key=lambda each: (not _is_whole(each, tensors), each.rank, _place(each), len(each.path)))
    return [variant for each in found for variant in _variants(each)]


def choice(taken: WeightSet, sets: Sequence[WeightSet]) -> tuple[str, ...]:
    """Return notes on the set that was taken and the prefix that is gone; none where there was no choice."""
    apart = [each for each in sets if taken.places.isdisjoint(each.places)]
    others = _outermost([each.name for each in apart if each.rank <= max(KNOWN, taken.rank)])
    notes = []
    if others:
        what = "the moving average" if taken.rank == AVERAGE else "the weights"
        failed = taken.rank != AVERAGE and any(each.rank == AVERAGE for each in apart)
        why = "; the moving average in the file does not fit" if failed else ""
        notes.append(f"took {what} {_listed([taken.name])}, not {_listed(others)}{why}")
    if taken.prefix:
        notes.append(f"took '{taken.prefix[:100]}' off the names of the weights")
    left_out = [*taken.left_out, *(name for name in _without_prefix(taken, sets) if name not in others)]
    if left_out:
        notes.append(f"left out {_listed(left_out)}")
    return tuple(notes)


def _without_prefix(taken: WeightSet, sets: Sequence[WeightSet]) -> list[str]:
    """Return the first steps of the names in the same container that lack the prefix of the weights taken."""
    container = next((each for each in sets if each.path == taken.path[: taken.keys] and taken.prefix), None)
    names = container.tensors if container is not None else {}
    return list(dict.fromkeys(name.split(".")[0] for name in names if not name.startswith(taken.prefix)))


def _entries(content: Any, source: str) -> Iterator[tuple[Steps, Any]]:
    """Yield every container and tensor with the steps to it; containers within themselves end somewhere."""
    waiting: list[tuple[Steps, Any]] = [((), content)]
    count = 0
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Tensor):
            yield path, value
            continue
        if len(path) == _DEEPEST:
            continue
        yield path, None
        inside = [(*path, *_steps(key, each)) for key, each in _items(value)]
        waiting += reversed(list(zip(inside, (each for _, each in _items(value)), strict=True)))
        count += len(inside)
        if count > _MOST_ENTRIES:
            raise FilterlensError(f"'{source}' holds more than {_MOST_ENTRIES:,} entries, as no weights do.")


def _items(value: Any) -> list[tuple[Any, Any]]:
    """Return what may lead to weights: tensors by name, and containers, also in lists."""
    if isinstance(value, Mapping):
        return [(key, each) for key, each in value.items() if isinstance(each, Tensor | Mapping | list | tuple)]
    places = enumerate(value) if isinstance(value, list | tuple) else ()
    return [(place, each) for place, each in places if isinstance(each, Mapping)]


def _steps(key: Any, value: Any) -> Steps:
    name = key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)
    return tuple(name.split(".")) if isinstance(value, Tensor) else (name,)


def _sets(tensors: Mapping[Steps, Tensor], containers: set[Steps], prefix: Steps, source: str) -> Iterator[WeightSet]:
    depth = len(prefix)
    within = {path: tensor for path, tensor in tensors.items() if path[:depth] == prefix and len(path) > depth}
    inner = {path for path in containers if path[:depth] == prefix and len(path) > depth}
    direct = {
        path: tensor
        for path, tensor in within.items()
        if not any(path[:end] in inner for end in range(depth + 1, len(path)))
    }
    chosen = direct if any(not _counts(path, tensor) for path, tensor in direct.items()) else within
    named = {".".join(path[depth:]): tensor for path, tensor in chosen.items()}
    if named:
        yield WeightSet(prefix, named, source, sum(prefix[:end] in containers for end in range(1, depth + 1)))
    if depth == _DEEPEST:
        return
    groups = dict.fromkeys(path[depth] for path, tensor in within.items() if not _counts(path, tensor))
    weighty = [group for group in groups if _is_average(group) or not _ASIDE.search(group)]
    for group in weighty:
        child = (*prefix, group)
        if _is_wrapper(group, child in containers or len(weighty) == 1) and child not in within:
            yield from _sets(within, containers, child, source)


def _is_wrapper(step: str, surely: bool) -> bool:
    return surely or _is_average(step) or step.lower() in _PLAIN


def _is_average(step: str) -> bool:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", step)
    return any(word.lower() in _AVERAGES for word in words) and not _ASIDE.search(step)


def _counts(path: Steps, tensor: Tensor) -> bool:
    return path[-1] in _COUNTERS and tensor.numel() <= 1


def _place(each: WeightSet) -> int:
    """Return the place of a set among the usual names."""
    return min((_PLAIN.index(step.lower()) for step in each.path if step.lower() in _PLAIN), default=-1)


def _variants(each: WeightSet) -> list[WeightSet]:
    """Return the set, and where it holds counters, the set without them."""
    counters = tuple(name for name, tensor in each.tensors.items() if _counts(tuple(name.split(".")), tensor))
    rest = {name: tensor for name, tensor in each.tensors.items() if name not in counters}
    return [each] if not counters or not rest else [each, replace(each, tensors=rest, left_out=counters)]


def _is_whole(each: WeightSet, tensors: Mapping[Steps, Tensor]) -> bool:
    return not each.path and len(each.tensors) == len(tensors)


def _outermost(names: Sequence[str]) -> list[str]:
    names = list(dict.fromkeys(names))
    return [name for name in names if not any(name.startswith(f"{other}.") for other in names)]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name[:60]}'" if name else "those without a key" for name in names[:3]) + (
        " …" if len(names) > 3 else ""
    )


def _plain(name: str, tensor: Tensor, source: str) -> Tensor:
    states = {"quantised": tensor.is_quantized, "sparse": tensor.is_sparse or "sparse" in str(tensor.layout)}
    states |= {"nested": tensor.is_nested, "without numbers (a meta tensor)": tensor.is_meta}
    state = next((state for state, is_so in states.items() if is_so), None)
    if state is not None:
        before = " from before it was quantised" if state == "quantised" else " as plain float32 tensors"
        raise UnfitError(f"Checkpoint '{source}': '{name[:100]}' is {state}. Take the weights{before}.", 0)
    return tensor.detach().float() if tensor.is_floating_point() else tensor.detach()


def _nothing(content: Any, source: str) -> FilterlensError:
    if isinstance(content, Mapping) and not content:
        return FilterlensError(f"Checkpoint '{source}' holds no tensors.")
    keys = [str(key)[:40] for key in list(content)[:10]] if isinstance(content, Mapping) else []
    found = ", ".join(keys) or type(content).__name__
    return FilterlensError(
        f"'{source}' holds no weights under a known key: found {found[:200]}; looked for tensors, bare or under a key "
        "such as params_ema, params or state_dict."
    )
