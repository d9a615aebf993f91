# SPDX-License-Identifier: Apache-2.0
"""How values and running work are shown to people: text in a terminal, HTML in a notebook."""
