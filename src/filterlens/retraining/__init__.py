# SPDX-License-Identifier: Apache-2.0
"""Training a chosen part of the baseline: found filters, last layers, low-rank factors, or all filters."""
