# SPDX-License-Identifier: Apache-2.0
"""All benchmarks by name, in the order in which they run."""

from benchmarks import growth, limit, memory, processes, reference, restoration, startup, training
from benchmarks.harness.benchmark import Benchmark

MODULES = (reference, limit, growth, processes, training, restoration, startup, memory)
CATALOGUE: dict[str, Benchmark] = {module.BENCHMARK.name: module.BENCHMARK for module in MODULES}
