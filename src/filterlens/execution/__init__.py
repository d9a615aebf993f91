# SPDX-License-Identifier: Apache-2.0
"""Any network on any image in bounded memory, on the device that is there."""
