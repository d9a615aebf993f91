# SPDX-License-Identifier: Apache-2.0
"""Training only the found filters of the baseline."""
