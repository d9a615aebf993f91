# SPDX-License-Identifier: Apache-2.0
"""What the path's starting point is worth."""
