# SPDX-License-Identifier: Apache-2.0
"""The run folder: which files it holds, the rows of its tables, and what its JSON files must say. It needs no torch."""
