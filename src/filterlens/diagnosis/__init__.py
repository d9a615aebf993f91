# SPDX-License-Identifier: Apache-2.0
"""Diagnosis of a network and its inputs from rankings: layers of the found filters, and degradations of an image."""
