# SPDX-License-Identifier: Apache-2.0
"""Where in the network the found filters sit: what is measured (measure), and the page of it (page)."""
