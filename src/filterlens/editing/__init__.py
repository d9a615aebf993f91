# SPDX-License-Identifier: Apache-2.0
"""Edited networks: filters put back to the baseline, or dialled along the path. The user's modules stay as they are."""
