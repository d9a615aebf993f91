# SPDX-License-Identifier: Apache-2.0
"""Which architecture a foreign checkpoint holds, read off the names and shapes of its tensors."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from filterlens.errors import FilterlensError
from filterlens.models.architectures import ARCHITECTURES


def recognise(weights: Mapping[str, Tensor], source: str) -> tuple[str, dict[str, Any]]:
    """Return architecture and options that fit the weights.

    Raises:
        FilterlensError: Nothing fits; the message says what was found and what would fit.
    """
    if "conv_first.weight" in weights and "upconv1.weight" in weights and weights["conv_first.weight"].ndim == 4:
        features = weights["conv_first.weight"].shape[0]
        blocks = len({name.split(".")[1] for name in weights if name.startswith("body.") and "conv1.weight" in name})
        step = round((weights["upconv1.weight"].shape[0] / features) ** 0.5)
        scale = 4 if "upconv2.weight" in weights else step
        if blocks and scale in (2, 3, 4):
            return "srresnet", {"scale": scale, "features": features, "blocks": blocks}
    shuffle = weights.get("features.12.weight")
    if shuffle is not None and shuffle.ndim == 4:
        following = weights.get("features.15.weight")
        twice = following is not None and following.shape[0] == 512  # x4 shuffles again where x2 has its 128 -> 128
        scales = {512: 4 if twice else 2, 1152: 3}
        if shuffle.shape[0] in scales:
            return "srcnn-style", {"scale": scales[shuffle.shape[0]]}
    some = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in list(weights.items())[:3])
    raise FilterlensError(
        f"Checkpoint '{source}' is of no architecture known here ({', '.join(ARCHITECTURES)}). It starts with {some}. "
        "A fitting SRResNet has conv_first, body.N.conv1/conv2, upconv1, conv_hr, conv_last; "
        "a fitting SRCNN-style network has features.0 … features.17."
    )
