# SPDX-License-Identifier: Apache-2.0
"""What the machine is good at: which device, and whether bfloat16 is fast on it."""

import contextlib
import os
from typing import Literal

import torch

from filterlens.errors import UsageError, unknown

Precision = Literal["auto", "fp32", "bf16"]
PRECISIONS = ("auto", "fp32", "bf16")
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "STATUS_ALLOC_FAILED")
MOST_ON_CPU = 4 * 2**30  # beyond it, a larger piece is no faster


def resolve_device(name: str = "auto") -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:1`` into a device; ``auto`` prefers a GPU.

    Among the processes that a launcher started on one machine, ``auto`` and ``cuda`` give each a GPU of its own.

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
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(f"Unknown device '{name}'. Legal: auto, cpu, cuda, cuda:N.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"Device '{name}' was asked for, but this PyTorch sees no CUDA device. Use --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"Device '{name}' was asked for, but there are {torch.cuda.device_count()} CUDA devices.")
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Say whether bfloat16 convolutions run in hardware there (AMX, AVX512-BF16, or a GPU since Ampere)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, probe, lambda: False)()) for probe in probes)


def resolve_precision(name: str, device: torch.device) -> Literal["fp32", "bf16"]:
    """Turn ``auto`` into ``bf16`` where the device computes it in hardware, else ``fp32``.

    Raises:
        UsageError: The name is not a precision.
    """
    if name not in PRECISIONS:
        raise unknown("precision", name, PRECISIONS)
    if name == "auto":
        return "bf16" if has_fast_bf16(device) else "fp32"
    return "bf16" if name == "bf16" else "fp32"


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Return the context in which a network computes in ``precision``; its weights stay as they are."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def memory_for_activations(device: torch.device) -> float:
    """Return how many bytes a computation may keep: what is free, less a reserve, and at most 4 GiB on a CPU.

    Processes that a launcher started on this machine share what its memory has free.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return 0.8 * free
    import psutil

    share = 0.5 / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(share * float(psutil.virtual_memory().available), MOST_ON_CPU)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error is a device's, a library's or the CPU allocator's way to say that memory ran out.

    Leave the ``except`` block before trying again with less: the error's frames keep their tensors alive.
    """
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
