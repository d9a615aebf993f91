# SPDX-License-Identifier: Apache-2.0
"""The best filters of a ranking as a short table."""

from typing import NamedTuple

from filterlens.filters import FilterAddress
from filterlens.showing.tables import html_table, text_table

_HEADER = ("degradation", "filter", "score", "rank")


class FoundFilter(NamedTuple):
    """One filter of a ranking; rank 1 is the best."""

    degradation: str
    address: FilterAddress
    score: float
    rank: int


class FoundFilters(tuple[FoundFilter, ...]):
    """Filters of a ranking, best first, degradation by degradation; printed as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        return text_table(_HEADER, [self._cells(each) for each in self], left=2)

    def _repr_html_(self) -> str:
        return html_table(_HEADER, [self._cells(each) for each in self], left=2)

    @staticmethod
    def _cells(found: FoundFilter) -> tuple[str, ...]:
        return found.degradation, str(found.address), f"{found.score:.4g}", str(found.rank)
