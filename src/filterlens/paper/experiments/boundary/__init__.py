# SPDX-License-Identifier: Apache-2.0
"""The boundary where a network stops helping, and its prediction from overlap scores."""
