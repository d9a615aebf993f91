# SPDX-License-Identifier: Apache-2.0
"""How far a ranking can be trusted: stability, randomisation, faithfulness."""
