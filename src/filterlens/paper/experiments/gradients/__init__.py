# SPDX-License-Identifier: Apache-2.0
"""What the path and the elimination are worth."""
