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


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], num_threads: int, num_ahead: int | None = None
) -> Generator[Result, None, None]:
    """``map(work, items)``, whose items are worked on by threads.

    Items are read by the thread that asks for results. An error of an item, or of the work on it, is raised in its
    turn: what comes before it is given first.

    Args:
        work: threads do it at the same time.
        items: closed with this generator, where they are one.
        num_threads: 0: all is done by the thread that asks, nothing ahead.
        num_ahead: items that are begun before they are asked for, at most, the one that is waited for included;
            ``AHEAD_PER_THREAD`` for each thread, if not told.
    """
    try:
        if num_threads == 0:
            yield from map(work, items)
            return
        num_ahead = num_threads * AHEAD_PER_THREAD if num_ahead is None else num_ahead
        waiting, rest = deque[Future[Result]](), iter(items)
        with ThreadPoolExecutor(num_threads, "ahead") as pool:
            try:
                while True:
                    try:
                        waiting.extend(pool.submit(work, item) for item in islice(rest, num_ahead - len(waiting)))
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
