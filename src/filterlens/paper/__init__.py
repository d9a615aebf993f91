# SPDX-License-Identifier: Apache-2.0
"""The paper's tables and figures, and further experiments: one module or package each, on a common frame."""
