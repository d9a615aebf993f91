# SPDX-License-Identifier: Apache-2.0
"""Telling degradations by overlap scores."""
