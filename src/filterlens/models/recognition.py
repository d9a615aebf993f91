# SPDX-License-Identifier: Apache-2.0
"""Which architecture a foreign checkpoint holds, read off the names and shapes of its tensors."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from filterlens.models.architectures import ARCHITECTURES
from filterlens.models.strict import UnfitError

SCALES = (2, 3, 4)

_DNCNN = re.compile(r"model\.\d*[02468]\.(weight|bias)")


class UnrecognisedError(UnfitError):
    """Weights are of no architecture known here."""


def recognise(weights: Mapping[str, Tensor], source: str) -> tuple[str, dict[str, Any]]:
    """Return architecture and options that fit the weights.

    DAN's number of loops and DASR's range of pixel values leave no trace in shapes: they are the published ones.

    Raises:
        UnrecognisedError: Nothing fits; the message says what was found and what would fit.
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
