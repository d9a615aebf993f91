# SPDX-License-Identifier: Apache-2.0
"""What the live app computes: degraded inputs, dialled networks, restored pictures, and what an input has."""
