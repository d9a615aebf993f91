# SPDX-License-Identifier: Apache-2.0
"""What all benchmarks share: conditions, goals, timing, child processes, records and how they are shown."""
