# SPDX-License-Identifier: Apache-2.0
"""How good a base with small adapters is, and how small they are."""
