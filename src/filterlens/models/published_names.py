# SPDX-License-Identifier: Apache-2.0
"""The published checkpoints of DAN and DASR: their tensors under our names, and checks of those that are no weights."""

import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from filterlens.models.dasr import DIV2K_MEAN
from filterlens.models.loading import UnfitError

Rule = tuple[str, str | Callable[[re.Match[str]], str]]

PUBLISHED_RANGE = 255.0
TOLERANCE = 1e-4
DAN_CONSTANTS = ("encoder", "init_kernel", "init_ker_map")
DASR_CONSTANTS = ("G.sub_mean.weight", "G.sub_mean.bias", "G.add_mean.weight", "G.add_mean.bias")
DASR_TRAINING = ("E.encoder_q.mlp.", "E.encoder_k.", "E.queue")  # for the contrast alone

_ENCODER = ("conv", "norm", "activation")
_DAN: tuple[Rule, ...] = (
    (r"Restorer\.", "restorer."),
    (r"Estimator\.", "estimator."),
    (r"\.head_(LR|HR)\.", lambda found: found[0].lower()),
    (r"\.body\.(\d+)\.body\.3\.body\.0\.", r".body.\1.attention.reduce."),
    (r"\.body\.(\d+)\.body\.3\.body\.2\.", r".body.\1.attention.expand."),
    (r"\.body\.(\d+)\.body\.0\.", r".body.\1.conv1."),
    (r"\.body\.(\d+)\.body\.2\.", r".body.\1.conv2."),
)
_DAN_UPSCALE: dict[bool, tuple[Rule, ...]] = {  # by whether there are two shuffles
    False: ((r"\.upscale\.0\.", ".upconvs.0."), (r"\.upscale\.2\.", ".conv_last.")),
    True: (
        (r"\.upscale\.0\.", ".upconvs.0."),
        (r"\.upscale\.2\.", ".upconvs.1."),
        (r"\.upscale\.4\.", ".conv_last."),
    ),
}
_DASR: tuple[Rule, ...] = (
    (r"G\.(head|compress)\.0\.", r"restorer.\1."),
    (r"G\.body\.(\d+)\.body\.\d+\.(weight|bias)", r"restorer.groups.\1.conv.\2"),
    (r"G\.body\.(\d+)\.body\.", r"restorer.groups.\1.blocks."),
    (r"G\.body\.\d+\.(weight|bias)", r"restorer.conv_body.\1"),
    (r"\.ca\.conv_du\.", ".ca."),
    (r"G\.tail\.0\.0\.", "restorer.upconvs.0."),
    (r"G\.tail\.0\.2\.", "restorer.upconvs.1."),
    (r"G\.tail\.1\.", "restorer.conv_last."),
    (r"E\.encoder_q\.E\.(\d+)\.", lambda found: f"encoder.layers.{int(found[1]) // 3}.{_ENCODER[int(found[1]) % 3]}."),
)


def in_our_names(weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Rename the tensors of a published DAN v1 or DASR checkpoint; return all others as they are.

    What belongs to DASR's contrastive training alone is left out.

    Args:
        weights: Name → tensor.
        source: The file, for messages.

    Raises:
        UnfitError: Constants of the checkpoint are missing, or not those that the network computes with.
    """
    if "Restorer.head.weight" in weights:
        rules = _DAN + _DAN_UPSCALE["Restorer.upscale.4.weight" in weights]
        basis, kernel, code = _take(DAN_CONSTANTS, weights, source)
        return _renamed(weights, rules, DAN_CONSTANTS, source) | _dan_buffers(basis, kernel, code, source)
    if "G.head.0.weight" in weights:
        _check_means(_take(DASR_CONSTANTS, weights, source), source)
        return _with_counters(_renamed(weights, _DASR, DASR_CONSTANTS + DASR_TRAINING, source))
    return dict(weights)


def _take(names: Iterable[str], weights: Mapping[str, Tensor], source: str) -> list[Tensor]:
    missing = [name for name in names if name not in weights]
    if missing:
        raise _unfit(source, f"missing: {', '.join(missing)}")
    return [weights[name] for name in names]


def _renamed(
    weights: Mapping[str, Tensor], rules: Iterable[Rule], left_out: tuple[str, ...], source: str
) -> dict[str, Tensor]:
    """Apply every rule to every name; a name that none fits stays, and will be refused as unexpected."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name.startswith(left_out):
            continue
        ours = name
        for pattern, replacement in rules:
            ours = re.sub(pattern, replacement, ours)
        if ours in renamed:
            raise _unfit(source, f"'{name}' is one tensor too many, {ours} here")
        renamed[ours] = tensor
    return renamed


def _dan_buffers(basis: Tensor, kernel: Tensor, code: Tensor, source: str) -> dict[str, Tensor]:
    """Return the basis and the first code, once they are known to belong together."""
    if basis.ndim != 3 or kernel.ndim != 3 or not kernel.numel() or basis.shape[1] != kernel[0].numel():
        found = f"encoder is {tuple(basis.shape)} and init_kernel {tuple(kernel.shape)}"
        raise _unfit(source, f"{found}, not (1, k², code) and (1, k, k)")
    delta = torch.zeros_like(kernel)
    delta[0, kernel.shape[1] // 2, kernel.shape[2] // 2] = 1
    if not _near(kernel, delta):
        raise _unfit(source, "init_kernel is not the delta kernel, from which DAN v1 starts")
    if not _near(code, kernel.flatten(1) @ basis[0]):
        raise _unfit(source, "init_ker_map is not the code of init_kernel in the basis encoder")
    return {"basis": basis[0], "initial_code": code}


def _check_means(constants: Iterable[Tensor], source: str) -> None:
    """Check that DASR subtracts and adds the mean that our network has as a constant."""
    mean, weight = PUBLISHED_RANGE * torch.tensor(DIV2K_MEAN), torch.eye(3).view(3, 3, 1, 1)
    for name, tensor, wanted in zip(DASR_CONSTANTS, constants, (weight, -mean, weight, mean), strict=True):
        if not _near(tensor, wanted):
            raise _unfit(source, f"{name} is {tensor.flatten().tolist()}, not that of DIV2K on 0 to 255")


def _with_counters(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give batch norms the step counters that files of early PyTorch lack; nothing computes with them."""
    counters = {
        name.replace("running_mean", "num_batches_tracked"): torch.tensor(0)
        for name in weights
        if name.endswith(".running_mean")
    }
    return counters | weights


def _near(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.allclose(first, second, TOLERANCE, TOLERANCE)


def _unfit(source: str, what: str) -> UnfitError:
    return UnfitError(f"Checkpoint '{source}' is not as published: {what[:300]}. Take the authors' file.", 1)
