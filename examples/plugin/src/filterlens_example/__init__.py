# SPDX-License-Identifier: Apache-2.0
"""A degradation and a method for filterlens; pyproject.toml names them as entry points."""
