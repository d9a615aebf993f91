# SPDX-License-Identifier: Apache-2.0
"""Dialling found filters, against interpolating all weights and blending outputs."""
