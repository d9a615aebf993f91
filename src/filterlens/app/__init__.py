# SPDX-License-Identifier: Apache-2.0
"""The app: a page in the browser with sliders for single functions of a network."""
