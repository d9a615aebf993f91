# SPDX-License-Identifier: Apache-2.0
"""The effect of the choice of the baseline: paths from other networks (measure), and their page (page)."""
