# SPDX-License-Identifier: Apache-2.0
"""The training of a baseline and of the target fine-tuned from it."""
