# SPDX-License-Identifier: Apache-2.0
"""How much memory there is, and how it is known that it ran out."""

import math
from pathlib import Path

import pytest
import torch

from filterlens.execution.memory import is_out_of_memory, memory_available, memory_for_activations, memory_in_all

CPU = torch.device("cpu")


def test_processes_of_a_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    class Free:
        available = 6 * 2**30

    monkeypatch.setattr(psutil, "virtual_memory", lambda: Free)
    assert memory_for_activations(CPU) == 3 * 2**30
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert memory_for_activations(CPU) == 2**30
    Free.available = 100 * 2**30
    assert memory_for_activations(CPU) == 4 * 2**30


def test_memory_is_what_machine_container_and_limits_leave(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import psutil

    class Free:
        available = 8 * 2**30
        total = 16 * 2**30

    class Swap:
        total = 2**30

    monkeypatch.setattr(psutil, "virtual_memory", lambda: Free)
    monkeypatch.setattr(psutil, "swap_memory", lambda: Swap)
    monkeypatch.setattr("filterlens.execution.memory._left_of_limits", lambda: math.inf)
    monkeypatch.setattr("filterlens.execution.memory._CONTAINERS", ((tmp_path, ("memory.max", "memory.current")),))
    assert memory_available() == 8 * 2**30
    for name, text in (("max", "max"), ("current", f"{3 << 30}"), ("stat", f"anon 5\ninactive_file {1 << 30}\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory_available() == 8 * 2**30
    assert memory_in_all(CPU) == 17 * 2**30
    (tmp_path / "memory.max").write_text(f"{4 << 30}")
    assert memory_available() == 2 * 2**30
    assert memory_in_all(CPU) == 4 * 2**30
    monkeypatch.setattr("filterlens.execution.memory._left_of_limits", lambda: 5.0)
    assert memory_available() == 5


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        MemoryError(),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: not enough memory: 8 bytes."),
    ],
)
def test_every_way_to_run_out_of_memory_is_recognised(error: BaseException) -> None:
    assert is_out_of_memory(error)


def test_what_the_cpu_allocator_really_raises_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA error: device-side assert triggered"), ValueError("out of memory"), KeyboardInterrupt()],
)
def test_other_errors_are_not_taken_for_it(error: BaseException) -> None:
    assert not is_out_of_memory(error)
