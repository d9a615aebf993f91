# SPDX-License-Identifier: Apache-2.0
"""The filters that carry the functions of a two-branch network, and their branches."""
