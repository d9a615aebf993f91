# SPDX-License-Identifier: Apache-2.0
"""One colour per function, told apart by colour-blind readers (Okabe and Ito), on light and on dark."""

from collections.abc import Sequence

_KINDS = {"blur": "#2a86cf", "motion": "#2a86cf", "noise": "#dd6b20", "poisson": "#dd6b20", "jpeg": "#12a37a"}
_OTHERS = ("#b566ad", "#c79a00", "#6b7280")


def colours(degradations: Sequence[str]) -> dict[str, str]:
    """Return degradation → colour; two of one kind get different ones."""
    chosen: dict[str, str] = {}
    spare = [*_KINDS.values(), *_OTHERS]
    for name in degradations:
        own = _KINDS.get(name.partition(":")[0]) if "+" not in name else None
        free = [colour for colour in [*_OTHERS, *spare] if colour not in chosen.values()]
        chosen[name] = own if own and own not in chosen.values() else (free or list(_OTHERS))[0]
    return chosen
