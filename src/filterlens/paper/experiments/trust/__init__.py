# SPDX-License-Identifier: Apache-2.0
"""Trust in a ranking: stability, randomisation, faithfulness."""
