# SPDX-License-Identifier: Apache-2.0
"""The machine and the versions that a figure belongs to."""

import os
import platform
import subprocess
from pathlib import Path

import psutil
import torch
from pydantic import BaseModel, ConfigDict

from filterlens.version import __version__

ROOT = Path(__file__).parents[2]
CPU_FACTS = Path("/proc/cpuinfo")


class Machine(BaseModel):
    """Everything about a machine that decides how fast it is.

    Attributes:
        cpu: Model.
        cores: That this process may use.
        threads: Of PyTorch.
        instructions: The widest vector instructions that PyTorch uses there.
        amx_bf16: Whether PyTorch reports bfloat16 tiles.
        avx512_bf16: Whether PyTorch reports bfloat16 vectors.
        memory_gib: Of the machine.
        gpu: Model, if it is used.
        system: Operating system.
        python: Version.
        torch: Version.
        filterlens: Version.
        commit: Of the checkout; ``+`` marks uncommitted changes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: str
    cores: int
    threads: int
    instructions: str
    amx_bf16: bool
    avx512_bf16: bool
    memory_gib: float
    gpu: str | None
    system: str
    python: str
    torch: str
    filterlens: str
    commit: str | None

    @property
    def text(self) -> str:
        """The machine in one line."""
        bf16 = [name for name, there in (("AMX", self.amx_bf16), ("AVX512", self.avx512_bf16)) if there]
        parts = [
            f"{self.cpu}, {self.cores} cores, {self.threads} threads",
            f"{self.instructions}, bfloat16 by {' and '.join(bf16) if bf16 else 'software'}",
            f"{self.memory_gib:.0f} GiB",
            *([self.gpu] if self.gpu else []),
            self.system,
            f"Python {self.python}, PyTorch {self.torch}, filterlens {self.filterlens}",
            *([f"commit {self.commit}"] if self.commit else []),
        ]
        return "; ".join(parts)


def this_machine(device: torch.device) -> Machine:
    """Describe the machine that runs this, computing on ``device``."""
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        instructions=torch.backends.cpu.get_cpu_capability(),
        amx_bf16=_torch_reports("_is_amx_tile_supported"),
        avx512_bf16=_torch_reports("_is_avx512_bf16_supported"),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        system=_system(),
        python=platform.python_version(),
        torch=torch.__version__,
        filterlens=__version__,
        commit=_commit(),
    )


def _cpu_model() -> str:
    facts = CPU_FACTS.read_text(encoding="utf-8").splitlines() if CPU_FACTS.is_file() else []
    models = (line.partition(":")[2].strip() for line in facts if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.platform()


def _torch_reports(probe: str) -> bool:
    return bool(getattr(torch.cpu, probe, lambda: False)())


def _commit() -> str | None:
    """Return the commit of the checkout; None where there is no git or no checkout."""
    try:
        found = [
            subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain"))
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return found[0] + ("+" if found[1] else "")
