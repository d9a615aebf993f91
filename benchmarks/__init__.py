# SPDX-License-Identifier: Apache-2.0
"""Figures that filterlens claims, measured by one command: ``python -m benchmarks``."""
