# SPDX-License-Identifier: Apache-2.0
"""The paper's tables and figures, and what goes past them: one module each, on one frame."""
