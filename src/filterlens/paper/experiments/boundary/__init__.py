# SPDX-License-Identifier: Apache-2.0
"""Where the network stops helping, and whether its overlap score says so."""
