# SPDX-License-Identifier: Apache-2.0
"""What the command line decides for all benchmarks."""

from dataclasses import dataclass
from pathlib import Path

import torch

from filterlens.execution.hardware import has_fast_bf16, resolve_device

OUTPUT = Path("runs/benchmarks")
PAIR = "srresnet-x2"


@dataclass(frozen=True)
class Settings:
    """The conditions of a run.

    Attributes:
        threads: Of PyTorch in every process, unless a benchmark states its own.
        images: A folder of HR images; None takes the photographs that ship.
        quick: Small settings that take about two minutes in all.
        output: Folder of the records.
        device: ``auto``, ``cpu`` or ``cuda``.
        pair: A pair that ships.
        full_reference: Run the whole reference loop instead of extrapolating its time; hours on a CPU.
    """

    threads: int
    images: Path | None = None
    quick: bool = False
    output: Path = OUTPUT
    device: str = "auto"
    pair: str = PAIR
    full_reference: bool = False

    @property
    def where(self) -> torch.device:
        """The device that computes."""
        return resolve_device(self.device)

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions worth measuring there: bfloat16 in software would only take hours."""
        return ("bf16", "fp32") if has_fast_bf16(self.where) else ("fp32",)

    def command(self, name: str) -> str:
        """Return the command that measures one benchmark so again; of folders, the name alone."""
        words = ["python -m benchmarks", name, f"--threads {self.threads}", f"--device {self.where.type}"]
        words += [f"--images {self.images.resolve().name}"] if self.images else []
        words += [f"--pair {self.pair}"] if self.pair != PAIR else []
        words += ["--quick"] if self.quick else []
        words += ["--full-reference"] if self.full_reference else []
        return " ".join(words)
