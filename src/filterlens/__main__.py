# SPDX-License-Identifier: Apache-2.0
"""``python -m filterlens`` (for torchrun)."""

import sys
from pathlib import Path

here = str(Path.cwd())
if sys.path[0] in ("", here) and not Path(__file__).is_relative_to(here):
    del sys.path[0]  # as for the command itself: a json.py in the working folder is not Python's

from filterlens.cli.main import main  # noqa: E402

sys.exit(main())
