# SPDX-License-Identifier: Apache-2.0
"""A user's network, prepared for computing: a copy without its wrappers, of one type, with all weights plain.

The copy shares nothing with the user's network and is in evaluation mode.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.optim.swa_utils import AveragedModel

from filterlens.errors import FilterlensError, UsageError, first_line

# attributes in which modules keep the network that they train or wrap
_INSIDE = (
    "module",
    "model",
    "net",
    "network",
    "generator",
    "net_g",
    "netG",
    "_orig_mod",
    "student",
    "ema_model",
    "ema",
)
_DEPTH = 3
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


@dataclass(frozen=True, eq=False)
class Ends:
    """Copies of baseline and target that can be computed with.

    Attributes:
        baseline: The network before fine-tuning.
        target: The network after it.
        dtype: Type of all weights: the widest of both networks, at least float32.
        notes: Lines on what had to change: wrappers inside, types, weights that were baked.
    """

    baseline: nn.Module
    target: nn.Module
    dtype: torch.dtype
    notes: tuple[str, ...]


def own_ends(baseline: nn.Module, target: nn.Module) -> Ends:
    """Return deep copies without wrappers, in evaluation mode, with plain weights of one type.

    Left out are data parallelism, ``torch.compile`` and averaging, and where only one side has them, modules that keep
    the network as ``model``, ``net`` or the like (Lightning). Weights derived from others (weight norm, spectral norm,
    parametrizations) become plain ones. Parameters, buffers and modules that a network uses several times are shared in
    the copy in the same way. Activations kept of an earlier pass are copied as plain numbers.

    Args:
        baseline: The user's; it stays as it is.
        target: As well.

    Raises:
        UsageError: One is not a module.
        FilterlensError: Its weights are no numbers to compute with, or it cannot be copied.
    """
    found = {role: _inner(network, role) for role, network in (("baseline", baseline), ("target", target))}
    notes = _without_holders(found)
    copies = {role: copied(network, role).eval().requires_grad_(False) for role, network in found.items()}
    if baked := {role: names for role, network in copies.items() if (names := bake(network, role))}:
        notes.append(baked_note(baked))
    kind = _common_type(list(copies.values()))
    notes += _type_notes(copies, kind)
    _unify(copies["target"], kind)
    return Ends(copies["baseline"], copies["target"], kind, tuple(notes))


def _inner(network: nn.Module, role: str) -> nn.Module:
    """Return the user's network inside its wrappers, checked."""
    if not isinstance(network, nn.Module):
        raise UsageError(f"The {role} is {type(network).__name__}, not a torch.nn.Module.")
    inner = unwrapped(network)
    _refuse_script(inner, role)
    for name, parameter in inner.named_parameters():
        _refuse_odd(name, parameter, role)
    places = sorted({str(parameter.device) for parameter in inner.parameters()})
    if len(places) > 1:
        raise FilterlensError(f"The weights of the {role} lie on {' and '.join(places)}. Bring them to one device.")
    return inner


def _without_holders(found: dict[str, nn.Module]) -> list[str]:
    """Where names differ, take the networks inside that have the same ones; changes the mapping, returns notes."""
    choices = {role: dict(_held(network)) for role, network in found.items()}
    shapes = {role: {path: _signature(each) for path, each in held.items()} for role, held in choices.items()}
    pairs = sorted(
        ((first, second) for first in choices["baseline"] for second in choices["target"]),
        key=lambda paths: (len(paths[0]) + len(paths[1]), paths),
    )
    same = (paths for paths in pairs if shapes["baseline"][paths[0]] == shapes["target"][paths[1]])
    paths = next(same, ((), ()))
    notes = []
    for role, path in zip(("baseline", "target"), paths, strict=True):
        if path:
            kind = type(found[role]).__name__
            notes.append(f"the network of the {role} is '{'.'.join(path)}' of the {kind} that was given")
            found[role] = choices[role][path]
    return notes


def _held(network: nn.Module, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], nn.Module]]:
    """Yield the network and what it holds under usual names, with the way to each."""
    yield path, unwrapped(network)
    for name, child in unwrapped(network).named_children() if len(path) < _DEPTH else ():
        if name in _INSIDE:
            yield from _held(child, (*path, name))


def _signature(network: nn.Module) -> dict[str, tuple[int, ...]] | None:
    """Return the names and shapes of the weights as they are after wrappers inside are gone and weights are plain."""
    found = {}
    for name, value in network.named_parameters(remove_duplicate=False):
        steps = [step for step in name.split(".") if step not in ("module", "_orig_mod")]
        if "parametrizations" in steps:
            place = steps.index("parametrizations")
            steps = [*steps[:place], steps[place + 1]]
        if steps[-1] in ("weight_g", "weight_v", "weight_orig"):
            steps[-1] = "weight"
            if name.endswith("weight_g"):
                continue
        found[".".join(steps)] = tuple(value.shape)
    return {name: found[name] for name in sorted(found)} or None


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the network inside its wrappers."""
    while (inner := _inside(network)) is not None:
        network = inner
    return network


def copied(network: nn.Module, role: str = "network") -> nn.Module:
    """Return a deep copy of a network of which wrappers inside are left out too.

    Raises:
        FilterlensError: It cannot be copied.
    """
    memo: dict[int, Any] = {}
    try:
        for tensor in _computed(network):
            memo[id(tensor)] = tensor.detach().clone()
        for module in list(network.modules())[::-1]:  # the innermost wrapper first
            if _inside(module) is not None:
                inner = memo[id(module)] = copy.deepcopy(unwrapped(module), memo)
                if not hasattr(inner, "module"):
                    vars(inner)["module"] = inner  # for code that goes through the wrapper; no child of its own
        result = copy.deepcopy(network, memo)
    except Exception as error:  # whatever a module of the user's holds may refuse
        raise FilterlensError(
            f"The {role} cannot be copied ({type(error).__name__}: {first_line(error, 120)}). Make it a module that "
            "copy.deepcopy takes: no open files, locks or weights that are computed from others."
        ) from error
    for name, module in result.named_modules():
        _own_forward(name, module, role)
    return result


def _own_forward(name: str, module: nn.Module, role: str) -> None:
    """Take the compilation off a forward of the instance; refuse one that would run the user's module instead.

    A function is not copied with the module that holds it, so what it closes over stays the user's.
    """
    forward = vars(module).get("forward")
    if hasattr(forward, "_torchdynamo_orig_callable"):
        del module.forward
        forward = None
    cells = [cell.cell_contents for cell in getattr(forward, "__closure__", None) or ()]
    if any(isinstance(getattr(each, "__self__", each), nn.Module) for each in cells):
        where = f"of '{name}' of the {role}" if name else f"of the {role}"
        raise FilterlensError(
            f"The forward {where} was replaced by a function that holds a module, which a copy would share. Bind it: "
            "network.forward = types.MethodType(function, network), or make it a method of a subclass."
        )


def _inside(network: nn.Module) -> nn.Module | None:
    """Return what a wrapper wraps; None for what is no wrapper."""
    inner = network.module if isinstance(network, _WRAPPERS) else getattr(network, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else None


def _computed(network: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors that modules keep as attributes and that hang on a computation: those refuse to be copied."""
    for module in network.modules():
        for value in vars(module).values():
            many = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
            yield from (each for each in many if isinstance(each, Tensor) and each.grad_fn is not None)


def bake(network: nn.Module, role: str = "network") -> list[str]:
    """Replace weights that are computed from others by what they are now, in place; return their names.

    Covered are ``weight_norm`` and ``spectral_norm`` of both kinds, and every parametrization.

    Args:
        network: A copy of the user's network, in evaluation mode.
        role: The name that errors use.

    Raises:
        FilterlensError: A weight cannot be computed.
    """
    baked = []
    for prefix, module in list(network.named_modules()):
        names = [f"{prefix}.{name}" if prefix else name for name in _derived(module)]
        try:
            with torch.no_grad():
                _bake_one(module)
        except Exception as error:  # of a parametrization of the user's
            raise FilterlensError(
                f"'{names[0]}' of the {role} is derived from other parameters and cannot be baked in "
                f"({type(error).__name__}: {first_line(error, 120)}). Give the network with plain weights: "
                "torch.nn.utils.parametrize.remove_parametrizations, remove_weight_norm or remove_spectral_norm."
            ) from error
        baked += names
    return baked


def baked_note(baked: dict[str, list[str]]) -> str:
    """Say which weights were baked, and what follows from it."""
    names = list(dict.fromkeys(name for each in baked.values() for name in each))
    many = f"'{names[0]}'" if len(names) == 1 else f"'{names[0]}' and {len(names) - 1} more"
    return (
        f"weights derived from others (weight norm, parametrizations) are baked in: {many} of the "
        f"{' and '.join(baked)}; scores, edits and checkpoints are of the network with plain weights"
    )


def _derived(module: nn.Module) -> list[str]:
    """Return the names of a module's own tensors that are computed from other parameters."""
    parametrized = list(cast(nn.ModuleDict, module.parametrizations)) if parametrize.is_parametrized(module) else []
    return [name for name, _ in _old_norms(module)] + parametrized


def _old_norms(module: nn.Module) -> list[tuple[str, Any]]:
    hooks = [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, WeightNorm | SpectralNorm)]
    return [(str(hook.name), hook) for hook in hooks]


def _bake_one(module: nn.Module) -> None:
    trained = any(each.requires_grad for each in module.parameters())
    values: dict[str, Tensor] = {}
    for name, hook in _old_norms(module):
        remove = nn.utils.remove_weight_norm if isinstance(hook, WeightNorm) else nn.utils.remove_spectral_norm
        values[name] = getattr(remove(module, name), name)
    if parametrize.is_parametrized(module):
        # not remove_parametrizations: it takes the weights from the class, which is the user's module's too
        values |= {name: getattr(module, name) for name in cast(nn.ModuleDict, module.parametrizations)}
        module.__class__ = type(module).__bases__[0]
        del module._modules["parametrizations"]
    fresh = {name: nn.Parameter(value.detach().clone(), requires_grad=trained) for name, value in values.items()}
    rest = {name: each for name, each in module._parameters.items() if name not in fresh}
    if fresh:
        module._parameters.clear()  # in the order of a plain layer
        module._parameters.update(fresh | rest)


def _common_type(networks: list[nn.Module]) -> torch.dtype:
    """Return the widest type of the weights, float32 at least."""
    kinds = (value.dtype for network in networks for value in network.parameters())
    return reduce(torch.promote_types, kinds, torch.float32)


def _type_notes(networks: dict[str, nn.Module], kind: torch.dtype) -> list[str]:
    """Say so where weights or buffers are of another type than that in which all is computed."""
    found = {
        role: sorted({_short(each.dtype) for each in _floats(network)} | set()) for role, network in networks.items()
    }
    if all(kinds in ([], [_short(kind)]) for kinds in found.values()):
        return []
    said = ", ".join(f"the {role} is of {' and '.join(kinds)}" for role, kinds in found.items())
    return [f"{said}: all is computed in {_short(kind)}"]


def _unify(network: nn.Module, kind: torch.dtype) -> None:
    """Bring parameters, buffers and tensors that modules keep as attributes to one type of real numbers."""
    for each in _floats(network):
        each.data = each.data.to(kind)
    for module in network.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != kind:
                vars(module)[name] = value.to(kind)


def _floats(network: nn.Module) -> list[Tensor]:
    return [each for each in (*network.parameters(), *network.buffers()) if each.is_floating_point()]


def _short(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def _refuse_script(network: nn.Module, role: str) -> None:
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            what = f"'{name}' of the {role}" if name else f"The {role}"
            raise FilterlensError(
                f"{what} is a TorchScript module, whose weights are fixed. Give the nn.Module itself."
            )


def _refuse_odd(name: str, parameter: Tensor, role: str) -> None:
    """Refuse weights between which there is no straight path of real numbers."""
    if isinstance(parameter, UninitializedParameter | UninitializedBuffer):
        raise FilterlensError(
            f"'{name}' of the {role} has no values yet (a lazy module). Run the network on an image once first."
        )
    if parameter.is_meta:
        raise FilterlensError(f"'{name}' of the {role} is on the meta device, without values. Load its weights first.")
    kind = type(parameter.data)
    if kind is not Tensor or not parameter.is_floating_point() or parameter.dtype.itemsize < 2:
        what = parameter.dtype if kind is Tensor else f"{kind.__name__} ({parameter.dtype})"
        raise FilterlensError(
            f"'{name}' of the {role} is of type {what}: filters need weights of float16, bfloat16, float32 or float64. "
            "Give the network before it was quantised or sharded."
        )
