# SPDX-License-Identifier: Apache-2.0
"""Which filters matter for which degradation: FAIG and the methods that it is compared with."""
