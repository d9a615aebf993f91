# SPDX-License-Identifier: Apache-2.0
"""One network for blur, noise and JPEG."""
