# SPDX-License-Identifier: Apache-2.0
"""Memory: the total, the free part, the part for activations, and whether an error says that it ran out."""

import contextlib
import math
import os
from pathlib import Path

import torch

MOST_ON_CPU = 4 * 2**30  # bytes of activations beyond which a larger tile is no faster
_GPU_SHARE, _CPU_SHARE = 0.8, 0.5  # of the free memory that activations may take
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "STATUS_ALLOC_FAILED")
_GROUPS = Path("/sys/fs/cgroup")
_CONTAINERS = (
    (_GROUPS, ("memory.max", "memory.current")),
    (_GROUPS / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")),
)


def memory_in_all(device: torch.device) -> float:
    """Return how many bytes a device has in all, or, of main memory, this container may use."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[1])
    import psutil

    total = float(psutil.virtual_memory().total + psutil.swap_memory().total)
    return min(total, *(most for most, _ in _container()), math.inf)


def memory_for_activations(device: torch.device) -> float:
    """Return how many bytes a computation may keep: a share of what is free, on a CPU at most 4 GiB.

    Processes that a launcher started on this machine share what its memory has free.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return _GPU_SHARE * free
    import psutil

    share = _CPU_SHARE / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(share * float(psutil.virtual_memory().available), MOST_ON_CPU)


def memory_available() -> float:
    """Return how many bytes of main memory are left to this process: by the machine, its container and its limits."""
    import psutil

    free = float(psutil.virtual_memory().available)
    return min(free, *(max(0.0, most - used) for most, used in _container()), _left_of_limits())


def release_memory(device: torch.device) -> None:
    """Give what PyTorch holds in reserve of a GPU's memory back to it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error is a device's, a library's or the CPU allocator's way to say that memory ran out.

    Leave the ``except`` block before trying again with less: the error's frames keep their tensors alive.
    """
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def _container() -> list[tuple[float, float]]:
    """Return what the control group (a container, a batch job) may use and what it uses, without its file cache."""
    for folder, names in _CONTAINERS:
        with contextlib.suppress(OSError, ValueError):  # no such version of control groups, or "max"
            most, used = (int((folder / name).read_text()) for name in names)
            facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return [(float(most), float(used - int(facts.get("inactive_file", 0))))]
    return []


def _left_of_limits() -> float:
    """What ``ulimit -v`` leaves."""
    try:
        import resource
    except ImportError:  # Windows
        return math.inf
    import psutil

    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    return math.inf if most == resource.RLIM_INFINITY else max(0.0, float(most - psutil.Process().memory_info().vms))
