# SPDX-License-Identifier: Apache-2.0
"""The run folder: its files, the rows of its tables, and the content of its JSON files. It needs no torch."""
