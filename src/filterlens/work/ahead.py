# SPDX-License-Identifier: Apache-2.0
"""Prepare the next item in a thread while the current one is processed."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")


def ahead(
    items: Iterable[Item], prepare: Callable[[Item], Prepared], *, in_thread: bool = True
) -> Iterator[tuple[Item, Prepared]]:
    """Yield every item with what was prepared for it, each time with the next one being prepared.

    Args:
        items: In the order wanted.
        prepare: Item → what is needed to work on it.
        in_thread: False prepares every item when it is its turn.
    """
    if not in_thread:
        for item in items:
            yield item, prepare(item)
        return
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[tuple[Item, Future[Prepared]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(prepare, item)))
            if len(waiting) == 2:
                first, future = waiting.popleft()
                yield first, future.result()
        for item, future in waiting:
            yield item, future.result()
