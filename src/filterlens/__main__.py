# SPDX-License-Identifier: Apache-2.0
"""``python -m filterlens`` (for torchrun)."""

import os
import sys

here = os.getcwd()  # noqa: PTH109  # pathlib would be looked for there
if sys.path[0] in ("", here) and os.path.dirname(os.path.dirname(os.path.abspath(__file__))) != here:  # noqa: PTH100, PTH120
    del sys.path[0]  # as for the command itself: a json.py in the working folder is not Python's

from filterlens.cli.main import main  # noqa: E402

sys.exit(main())
