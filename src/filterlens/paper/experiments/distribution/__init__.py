# SPDX-License-Identifier: Apache-2.0
"""The layers of the found filters: measurement (measure) and page (page)."""
