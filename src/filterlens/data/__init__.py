# SPDX-License-Identifier: Apache-2.0
"""Images from folders, and training patches on the device."""
