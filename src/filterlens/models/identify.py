# SPDX-License-Identifier: Apache-2.0
"""The network of a checkpoint's weights: filterlens' own, one that spandrel recognises, or one of the user's code.

The architectures of filterlens are recognised by the names and shapes of the tensors.
"""

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from filterlens.errors import FilterlensError, UsageError, unknown
from filterlens.execution.on_images import refuse_more_inputs, run_as
from filterlens.execution.own_network import bake, baked_note, copied
from filterlens.models.any_image import scale_and_needs, taking_any_image
from filterlens.models.architectures import ARCHITECTURES, Bounded, TooLargeError, build
from filterlens.models.foreign import PREFIX, REMEDY, Recognised, is_installed, recognise_foreign
from filterlens.models.loading import UnfitError, load_strictly
from filterlens.models.published_names import in_our_names
from filterlens.models.user_module import Factory, is_factory, not_named
from filterlens.models.weight_sets import OTHER, WeightSet

Weights = Mapping[str, Tensor]
Attempt = Callable[[Weights], Recognised]

_log = logging.getLogger(__name__)

SCALES = (2, 3, 4)
_DNCNN = re.compile(r"model\.\d*[02468]\.(weight|bias)")
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
        sets: Sets of weights in the file, in the order in which they are tried.
        header: The file's own header; it may name no code that is imported.
        source: The file, for messages.
        architecture: Name that overrides the header and the shapes; a factory here is imported and called.
        scale: Upscaling factor that overrides them too.

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
    if factory.call is None:
        refuse_more_inputs(network)
    call = partial(run_as, None if factory.call is None else factory.call.function(), None)

    def attempt(weights: Weights) -> Recognised:
        loaded = _with_plain_or_derived(network, weights, source, f"'{factory}'")
        scale, needs = scale_and_needs(partial(call, loaded), f"'{factory}'")
        if derived := bake(copied(network).eval()):
            _log.info("'%s': %s", source, baked_note({"network": derived}))
        taking = taking_any_image(loaded, scale, needs, call=call)
        return Recognised(taking, architecture, factory.options | {"scale": scale})

    return attempt


def _with_plain_or_derived(network: nn.Module, weights: Weights, source: str, name: str) -> nn.Module:
    """Load weights as the network has them, or plain where it derives them (weight norm): so they are written here."""
    baked = copied(network)
    try:
        load_strictly(network, weights, source, name)
    except UnfitError:
        if not bake(baked):
            raise
        load_strictly(baked, weights, source, name)
        return baked
    return network


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
    """Build a network of filterlens, or else, where no architecture is named, one of spandrel."""
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
    if scale is not None and name in ARCHITECTURES and scale != options.get("scale", scale):
        raise UsageError(f"'{source}' is a network of scale {options['scale']}, not {scale}: leave the scale out.")
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


class UnrecognisedError(UnfitError):
    """Weights are of no architecture known here."""


def recognise(weights: Mapping[str, Tensor], source: str) -> tuple[str, dict[str, Any]]:
    """Return architecture and options that fit the weights.

    DAN's number of loops and DASR's range of pixel values leave no trace in shapes: they are the published ones.

    Raises:
        UnrecognisedError: Nothing fits; the message names the first tensors, and what would fit.
    """
    for architecture, fit in _FITS.items():
        options = fit(weights)
        if options is not None:
            return architecture, options
    some = ", ".join(f"{name[:60]} {str(tuple(tensor.shape))[:40]}" for name, tensor in list(weights.items())[:3])
    raise UnrecognisedError(
        f"Checkpoint '{source}' is of no architecture known here ({', '.join(ARCHITECTURES)}). It starts with {some}. "
        "A fitting SRResNet has conv_first, body.N.conv1/conv2, upconv1, conv_hr, conv_last; "
        "a fitting SRCNN-style network has features.0 … features.17; DAN has restorer.body.N, estimator.body.N and "
        "basis, or the published Restorer and Estimator; DASR has encoder.layers.N and restorer.groups.N, or the "
        "published E and G; DnCNN has model.0, model.2, … alone.",
        len(weights),
    )


def _srresnet(weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
    if not _are_convolutions(weights, "conv_first.weight", "upconv1.weight"):
        return None
    features = weights["conv_first.weight"].shape[0]
    blocks = _count(weights, r"body\.(\d+)\.conv1\.weight")
    step = round((weights["upconv1.weight"].shape[0] / features) ** 0.5)
    scale = 4 if "upconv2.weight" in weights else step
    return {"scale": scale, "features": features, "blocks": blocks} if blocks and scale in SCALES else None


def _srcnn_style(weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
    if not _are_convolutions(weights, "features.12.weight"):
        return None
    following = weights.get("features.15.weight")
    # x4 shuffles again where x2 has its 128 -> 128
    twice = following is not None and following.ndim == 4 and following.shape[0] == 512
    scale = {512: 4 if twice else 2, 1152: 3}.get(weights["features.12.weight"].shape[0])
    return None if scale is None else {"scale": scale}


def _dan(weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
    basis = weights.get("basis")
    trunk = _trunk(weights)
    if trunk is None or basis is None or basis.ndim != 2:
        return None
    return trunk | {
        "blocks": _count(weights, r"restorer\.body\.(\d+)\.conv1\.weight"),
        "estimator_blocks": _count(weights, r"estimator\.body\.(\d+)\.conv1\.weight"),
        "code": basis.shape[1],
        "kernel": math.isqrt(basis.shape[0]),
    }


def _dasr(weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
    trunk = _trunk(weights)
    if trunk is None or "restorer.compress.weight" not in weights:
        return None
    return trunk | {
        "groups": _count(weights, r"restorer\.groups\.(\d+)\.conv\.weight"),
        "blocks": _count(weights, r"restorer\.groups\.0\.blocks\.(\d+)\.conv1\.weight"),
    }


def _dncnn(weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
    first, layers = weights.get("model.0.weight"), _count(weights, r"model\.(\d+)\.weight")
    last = weights.get(f"model.{2 * layers - 2}.weight")
    if first is None or last is None or not first.ndim or any(_DNCNN.fullmatch(name) is None for name in weights):
        return None
    shapes = (first.shape[0], 3, 3, 3), (3, first.shape[0], 3, 3)
    fits = layers >= 3 and (tuple(first.shape), tuple(last.shape)) == shapes
    return {"scale": 1, "features": first.shape[0], "layers": layers} if fits else None


def _trunk(weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Return scale and features of a network whose restorer has a head and pixel shuffles."""
    if not _are_convolutions(weights, "restorer.head.weight", "restorer.upconvs.0.weight"):
        return None
    features = weights["restorer.head.weight"].shape[0]
    step = round((weights["restorer.upconvs.0.weight"].shape[0] / features) ** 0.5)
    scale = 4 if "restorer.upconvs.1.weight" in weights else step
    return {"scale": scale, "features": features} if scale in SCALES else None


def _are_convolutions(weights: Mapping[str, Tensor], *names: str) -> bool:
    return all(name in weights and weights[name].ndim == 4 and weights[name].numel() for name in names)


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    """Count the distinct numbers at the group of a pattern."""
    return len({found[1] for found in (re.fullmatch(pattern, name) for name in weights) if found})


_FITS = {"srresnet": _srresnet, "srcnn-style": _srcnn_style, "dan": _dan, "dasr": _dasr, "dncnn": _dncnn}
