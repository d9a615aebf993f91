# SPDX-License-Identifier: Apache-2.0
"""Running any network on any image in bounded memory, on the available device."""
