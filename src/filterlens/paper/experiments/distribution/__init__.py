# SPDX-License-Identifier: Apache-2.0
"""Where in the network the found filters sit."""
