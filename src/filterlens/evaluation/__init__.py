# SPDX-License-Identifier: Apache-2.0
"""Evaluation of edited networks: damage, function distance, faithfulness and stability of rankings, and statistics."""
