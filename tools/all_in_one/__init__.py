# SPDX-License-Identifier: Apache-2.0
"""The small all-in-one network of the gallery: how its pairs are drawn, how it was trained, how it is judged."""
