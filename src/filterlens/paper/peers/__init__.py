# SPDX-License-Identifier: Apache-2.0
"""Two-branch networks (DAN, DASR) and the one-branch network of equal computation beside each, trained alike."""
