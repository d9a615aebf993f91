# SPDX-License-Identifier: Apache-2.0
"""The network of a checkpoint's weights: filterlens' own, one that spandrel recognises, or one of the user's code."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from filterlens.errors import FilterlensError, UsageError
from filterlens.models.architectures import build
from filterlens.models.fitted import fitted
from filterlens.models.foreign import PREFIX, REMEDY, Recognised, is_installed, recognise_foreign
from filterlens.models.probing import scale_and_needs
from filterlens.models.recognition import recognise
from filterlens.models.strict import load_strictly
from filterlens.models.user_module import Factory, is_factory, not_named


def network_of(
    weights: Mapping[str, Tensor],
    header: Mapping[str, Any],
    source: str,
    architecture: str | None = None,
    scale: int | None = None,
) -> Recognised:
    """Build the network and load the weights into it.

    Args:
        weights: Name → tensor, in filterlens' names where it has them.
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
        raise FilterlensError(f"'{source}' says that '{said}' builds its network. {not_named(str(said))}")
    if architecture is not None and is_factory(architecture):
        found = _by_factory(architecture, weights, source)
    elif str(architecture or said).startswith(PREFIX):
        found = _by_spandrel(str(architecture or said), weights, source)
    else:
        found = _here(weights, header, source, architecture, scale)
    if scale is not None and scale != found.options["scale"]:
        raise UsageError(f"'{source}' is a network of scale {found.options['scale']}, not {scale}.")
    return found


def _by_factory(architecture: str, weights: Mapping[str, Tensor], source: str) -> Recognised:
    factory = Factory.parse(architecture)
    network = factory.build().float().eval()
    load_strictly(network, weights, source, f"'{factory}'")
    scale, needs = scale_and_needs(network, f"'{factory}'")
    return Recognised(fitted(network, scale, needs), architecture, factory.options | {"scale": scale})


def _by_spandrel(wanted: str, weights: Mapping[str, Tensor], source: str) -> Recognised:
    if not is_installed():
        raise FilterlensError(f"'{source}' is a network of {wanted}. To read it: {REMEDY}")
    found = recognise_foreign(weights, source)
    if found is None or found.architecture != wanted:
        what = "no architecture that spandrel recognises" if found is None else found.architecture
        raise FilterlensError(f"'{source}' is {what}, not {wanted}.")
    return found


def _here(
    weights: Mapping[str, Tensor], header: Mapping[str, Any], source: str, asked: str | None, scale: int | None
) -> Recognised:
    """Build a network of filterlens; what it does not know and nobody named is left to spandrel."""
    if header.get("architecture") is not None:
        known, options = str(header["architecture"]), dict(header.get("options", {}))
    else:
        try:
            known, options = recognise(weights, source)
        except FilterlensError as error:
            if asked is None:
                return _elsewhere(weights, source, error)
            known, options = asked, {}
    name, options = (known, options) if asked in (None, known) else (str(asked), {})
    if scale is not None:
        options["scale"] = scale
    network = build(name, **options)
    options.setdefault("scale", network.scale)
    load_strictly(network, weights, source, name)
    return Recognised(network, name, options)


def _elsewhere(weights: Mapping[str, Tensor], source: str, refusal: FilterlensError) -> Recognised:
    own = "For a network of your own give --architecture package.module:factory."
    if not is_installed():
        raise FilterlensError(f"{refusal} Many more can be read with spandrel: {REMEDY}. {own}") from refusal
    found = recognise_foreign(weights, source)
    if found is None:
        raise FilterlensError(f"{refusal} Nor does spandrel recognise it. {own}") from refusal
    return found
