# SPDX-License-Identifier: Apache-2.0
"""``python -m filterlens`` (for torchrun)."""

import sys

from filterlens.cli.main import main

sys.exit(main())
