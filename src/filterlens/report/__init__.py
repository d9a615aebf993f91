# SPDX-License-Identifier: Apache-2.0
"""The report: one self-contained page about a finished run; it reads files and draws, and computes no attribution."""
