# SPDX-License-Identifier: Apache-2.0
"""Two-branch networks (DAN, DASR) and the one-branch network of equal computation next to each, trained alike."""
