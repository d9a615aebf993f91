# SPDX-License-Identifier: Apache-2.0
"""How good an output is, how far a function is from another, and what masking filters damages."""
