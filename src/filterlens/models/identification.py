# SPDX-License-Identifier: Apache-2.0
"""The network of a checkpoint's weights: filterlens' own, one that spandrel recognises, or one of the user's code."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from filterlens.errors import FilterlensError, UsageError, unknown
from filterlens.models.architectures import ARCHITECTURES, build
from filterlens.models.bounded import Bounded, TooLargeError
from filterlens.models.fitted import fitted
from filterlens.models.foreign import PREFIX, REMEDY, Recognised, is_installed, recognise_foreign
from filterlens.models.probing import scale_and_needs
from filterlens.models.published_names import in_our_names
from filterlens.models.recognition import UnrecognisedError, recognise
from filterlens.models.strict import UnfitError, load_strictly
from filterlens.models.user_module import Factory, is_factory, not_named
from filterlens.models.weight_sets import OTHER, WeightSet

Weights = Mapping[str, Tensor]
Attempt = Callable[[Weights], Recognised]

_OWN = "For a network of your own give --architecture package.module:factory."


def network_of(
    sets: Sequence[WeightSet],
    header: Mapping[str, Any],
    source: str,
    architecture: str | None = None,
    scale: int | None = None,
) -> tuple[Recognised, WeightSet]:
    """Build the network that the first fitting set of weights is of, and load them into it.

    Args:
        sets: What the file holds, in the order in which it is tried.
        header: What the file says of itself; it may name no code that is imported.
        source: The file, for messages.
        architecture: Overrides the header and the shapes; a factory here is imported and called.
        scale: Overrides them too.

    Raises:
        FilterlensError: Nothing fits the weights, or what fits must not be imported.
        UsageError: The architecture is unknown, or the scale is not the network's.
    """
    if header.get("kind") == "adapter":
        raise FilterlensError(
            f"'{source}' is an adapter, not a network. Give it as --adapter, and as --base the network that "
            "`filterlens adapter show` names."
        )
    said = header.get("architecture")
    if is_factory(said) and said != architecture:
        raise FilterlensError(
            f"'{source}' says that '{str(said)[:100]}' builds its network. {not_named(str(said)[:100])}"
        )
    if architecture is not None and is_factory(architecture):
        found = _first(sets, _by_factory(architecture, source), source)
    elif str(architecture or said).startswith(PREFIX):
        found = _first(_unwrapped_first(sets), partial(_by_spandrel, str(architecture or said), source), source)
    else:
        found = _by_names(sets, header, source, architecture, scale)
    if scale is not None and scale != found[0].options["scale"]:
        raise UsageError(f"'{source}' is a network of scale {found[0].options['scale']}, not {scale}.")
    return found


def _first(sets: Sequence[WeightSet], attempt: Attempt, source: str) -> tuple[Recognised, WeightSet]:
    """Return the first set that fits, with its network; of the refusals the one that nearly fits is raised.

    Raises:
        UnfitError: None fits.
        FilterlensError: Several do, and no name says which is meant.
    """
    refusals = []
    for each in sets:
        try:
            found = attempt(in_our_names(each.weights, source))
        except UnfitError as refusal:
            refusals.append(refusal)
            continue
        _refuse_twins(each, sets, attempt, source)
        return found, each
    raise min(refusals, key=lambda refusal: refusal.problems)


def _refuse_twins(taken: WeightSet, sets: Sequence[WeightSet], attempt: Attempt, source: str) -> None:
    if taken.rank != OTHER:
        return
    for each in sets:
        if each.rank == OTHER and each.path != taken.path and each.path[: len(taken.path)] != taken.path:
            try:
                attempt(in_our_names(each.weights, source))
            except UnfitError:
                continue
            raise FilterlensError(
                f"'{source}' holds weights of the network under '{taken.name[:60]}' and under '{each.name[:60]}', and "
                "no usual name says which to take. Save those that you mean alone."
            )


def _by_factory(architecture: str, source: str) -> Attempt:
    factory = Factory.parse(architecture)
    network = factory.build().float().eval()

    def attempt(weights: Weights) -> Recognised:
        load_strictly(network, weights, source, f"'{factory}'")
        scale, needs = scale_and_needs(network, f"'{factory}'")
        return Recognised(fitted(network, scale, needs), architecture, factory.options | {"scale": scale})

    return attempt


def _by_spandrel(wanted: str, source: str, weights: Weights) -> Recognised:
    if not is_installed():
        raise FilterlensError(f"'{source}' is a network of {wanted[:60]}. To read it: {REMEDY}")
    found = recognise_foreign(weights, source)
    if found is None or found.architecture != wanted:
        what = "no architecture that spandrel recognises" if found is None else found.architecture
        raise UnfitError(f"'{source}' is {what}, not {wanted[:60]}.", len(weights))
    return found


def _by_names(
    sets: Sequence[WeightSet], header: Mapping[str, Any], source: str, asked: str | None, scale: int | None
) -> tuple[Recognised, WeightSet]:
    """Build a network of filterlens; what it does not know and nobody named is left to spandrel."""
    try:
        return _first(sets, partial(_here, header, source, asked, scale), source)
    except UnrecognisedError as refusal:
        if not is_installed():
            raise FilterlensError(f"{refusal} Many more can be read with spandrel: {REMEDY}. {_OWN}") from refusal
        return _first(_unwrapped_first(sets), partial(_elsewhere, source, refusal), source)


def _unwrapped_first(sets: Sequence[WeightSet]) -> list[WeightSet]:
    """Return the sets with those last from which spandrel would take a prefix off without a word."""
    return sorted(sets, key=lambda each: all(name.startswith(("module.", "netG.")) for name in each.tensors))


def _here(header: Mapping[str, Any], source: str, asked: str | None, scale: int | None, weights: Weights) -> Recognised:
    said = header.get("architecture")
    try:
        known, options = (said, dict(header.get("options", {}))) if said is not None else recognise(weights, source)
    except UnrecognisedError:
        if asked is None:
            raise
        known, options = asked, {}
    if asked is None and known not in ARCHITECTURES:
        raise FilterlensError(
            f"'{source}' names its network. {unknown('architecture', str(known)[:60], ARCHITECTURES)}"
        )
    name, options = (known, options) if asked in (None, known) else (str(asked), {})
    if scale is not None:
        options["scale"] = scale
    try:
        with Bounded.by(weights.values()):
            network = build(name, **options)
    except UsageError as error:
        if isinstance(error, TooLargeError):
            raise FilterlensError(f"'{source}' is not a {name} of {str(options)[:100]}: {error}") from error
        if asked is not None or scale is not None:
            raise
        raise FilterlensError(f"Checkpoint '{source}' is of a network that cannot be: {error}") from error
    options.setdefault("scale", network.scale)
    load_strictly(network, weights, source, name)
    return Recognised(network, name, options)


def _elsewhere(source: str, refusal: FilterlensError, weights: Weights) -> Recognised:
    found = recognise_foreign(weights, source)
    if found is None:
        raise UnfitError(f"{refusal} Nor does spandrel recognise it. {_OWN}", len(weights))
    return found
