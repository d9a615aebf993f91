# SPDX-License-Identifier: Apache-2.0
"""The choice of device and precision, and whether bfloat16 is fast on the device."""

import contextlib
import os
import warnings
from typing import Literal

import torch

from filterlens.errors import UsageError, unknown

Precision = Literal["auto", "fp32", "bf16"]
PRECISIONS = ("auto", "fp32", "bf16")


def resolve_device(name: str = "auto") -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` into a device; ``auto`` prefers a CUDA GPU.

    Among the processes that a launcher started on one machine, ``auto`` and ``cuda`` give each a GPU of its own. An
    Apple GPU (``mps``) is taken only by name, as it lacks float64 and its results differ more from a CPU's.

    Raises:
        UsageError: The device is unknown or not present.
    """
    if name == "auto" and not torch.cuda.is_available():
        return torch.device("cpu")
    if name in ("auto", "cuda") and torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    if name == "auto":
        return torch.device("cuda")
    try:
        device: torch.device | None = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"Unknown device '{name}'. Legal: auto, cpu, cuda, cuda:N, mps.")
    if device.type == "mps" and (not torch.backends.mps.is_available() or device.index):
        raise UsageError(f"Device '{name}' was asked for, but this PyTorch sees no such Apple GPU. Use --device cpu.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"Device '{name}' was asked for, but this PyTorch sees no CUDA device. Use --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"Device '{name}' was asked for, but there are {torch.cuda.device_count()} CUDA devices.")
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Say whether bfloat16 convolutions run in hardware there (AMX, AVX512-BF16, or a GPU since Ampere)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "mps":
        return False
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, probe, lambda: False)()) for probe in probes)


def resolve_precision(name: str, device: torch.device) -> Literal["fp32", "bf16"]:
    """Turn ``auto`` into ``bf16`` where the device computes it in hardware, else ``fp32``.

    Raises:
        UsageError: The name is not a precision, or the device cannot compute in it.
    """
    if name not in PRECISIONS:
        raise unknown("precision", name, PRECISIONS)
    if name == "bf16" and device.type == "mps" and not _mps_has_bf16():
        raise UsageError("--precision bf16 was asked for, but PyTorch has no bfloat16 on this Apple GPU. Use fp32.")
    if name == "auto":
        return "bf16" if has_fast_bf16(device) else "fp32"
    return "bf16" if name == "bf16" else "fp32"


def _mps_has_bf16() -> bool:
    """Whether this PyTorch and this macOS compute in bfloat16 there: tried, as no list says so."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # where autocast is not supported, it warns and stays in float32
            with torch.autocast("mps", dtype=torch.bfloat16):
                ones = torch.ones(2, 2, device="mps")
                return bool((ones @ ones).dtype == torch.bfloat16)
    except Exception:
        return False


def widest_float(device: torch.device) -> torch.dtype:
    """Return the type in which sums are kept: float64, or float32 on Apple GPUs, which have no other."""
    return torch.float32 if device.type == "mps" else torch.float64


def widened(values: torch.Tensor) -> torch.Tensor:
    """Return the values in the widest type that their device has, for sums."""
    return values.to(widest_float(values.device))


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Return the context in which a network computes in ``precision``; its weights stay as they are."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()
