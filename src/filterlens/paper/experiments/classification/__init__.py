# SPDX-License-Identifier: Apache-2.0
"""Classification of degradations by overlap scores."""
