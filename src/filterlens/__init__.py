# SPDX-License-Identifier: Apache-2.0
"""filterlens finds the few filters that a restoration network uses for each degradation."""

from filterlens.version import __version__

__all__ = ["__version__"]
