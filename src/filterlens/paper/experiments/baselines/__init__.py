# SPDX-License-Identifier: Apache-2.0
"""What the choice of the baseline is worth: paths from other networks (measure), and the page of it (page)."""
