# SPDX-License-Identifier: Apache-2.0
"""Quality and size of small adapters on a base."""
