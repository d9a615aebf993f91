# SPDX-License-Identifier: Apache-2.0
"""Editing of networks: dial filters between baseline and target, apply and merge adapters, re-train filters."""
