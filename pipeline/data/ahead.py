"""Work on items by threads, some of them ahead of the one that is asked for; results come in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

AHEAD_PER_THREAD = 8  # so that no thread waits while who asks puts a run of results away

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item], num_threads: int) -> Generator[Result, None, None]:
    """``map(work, items)``, whose items are worked on by threads where there are several.

    Items are read by the thread that asks for results, ``AHEAD_PER_THREAD`` for each thread before their turn. An error
    of an item, or of the work on it, is raised in its turn: what comes before it is given first.

    Args:
        work: threads do it at the same time.
        items: closed with this generator, where they are one.
        num_threads: 1: all is done by the thread that asks, nothing ahead.
    """
    try:
        if num_threads == 1:
            yield from map(work, items)
            return
        waiting, rest = deque[Future[Result]](), iter(items)
        with ThreadPoolExecutor(num_threads) as pool:
            try:
                while True:
                    room = num_threads * AHEAD_PER_THREAD - len(waiting)
                    try:
                        waiting.extend(pool.submit(work, item) for item in islice(rest, room))
                    except Exception:  # of an item; those before it go first
                        while waiting:
                            yield waiting.popleft().result()
                        raise
                    if not waiting:
                        return
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
    finally:
        if isinstance(items, Generator):
            items.close()
