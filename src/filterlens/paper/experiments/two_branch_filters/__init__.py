# SPDX-License-Identifier: Apache-2.0
"""Which filters of a two-branch network carry its functions, and in which branch they sit."""
