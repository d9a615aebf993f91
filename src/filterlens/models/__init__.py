# SPDX-License-Identifier: Apache-2.0
"""The networks that filterlens knows, and their checkpoints."""
