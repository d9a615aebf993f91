# SPDX-License-Identifier: Apache-2.0
"""What the rankings say about a network."""
