"""Work that threads do ahead comes in order, in bounded number, with its errors in their turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pipeline.data.ahead import AHEAD_PER_THREAD, in_order


class Counted:
    """The numbers from 0, which of them were asked for, and whether they were closed."""

    def __init__(self, end: int, error_at: int = -1) -> None:
        self.num_read, self.closed = 0, False
        self.items = self._items(end, error_at)

    def _items(self, end: int, error_at: int) -> Iterator[int]:
        try:
            for number in range(end):
                if number == error_at:
                    raise OSError("gone")
                self.num_read += 1
                yield number
        finally:
            self.closed = True


@pytest.mark.parametrize("num_threads", [0, 1, 2, 3])
def test_results_are_those_of_map(num_threads: int) -> None:
    assert list(in_order(lambda item: item * item, iter(range(50)), num_threads)) == [n * n for n in range(50)]
    assert list(in_order(str, iter(()), num_threads)) == []


def test_threads_work_at_the_same_time_and_none_are_needed() -> None:
    both = threading.Barrier(2, timeout=30)
    assert sorted(in_order(lambda _: both.wait(), iter(range(2)), 2)) == [0, 1]
    (name,) = in_order(lambda _: threading.current_thread().name, iter(range(1)), 0)
    assert name == threading.current_thread().name


@pytest.mark.parametrize("num_threads", [0, 1, 2, 3])
def test_no_more_items_are_read_than_are_allowed_ahead(num_threads: int) -> None:
    counted = Counted(100)
    results = in_order(lambda item: item, counted.items, num_threads)
    ahead = num_threads * AHEAD_PER_THREAD if num_threads else 1
    for taken in range(1, 101):
        assert next(results) == taken - 1
        assert counted.num_read <= taken - 1 + ahead
    assert counted.num_read == 100


def test_as_many_are_ahead_as_are_told() -> None:
    counted, begun = Counted(100), threading.Semaphore(0)
    results = in_order(lambda item: (begun.release(), item)[1], counted.items, 2, 40)
    assert next(results) == 0
    assert all(begun.acquire(timeout=30) for _ in range(40))  # nobody asked for more than one
    assert counted.num_read == 40
    results.close()


@pytest.mark.parametrize("num_threads", [0, 1, 2])
def test_an_error_comes_in_its_turn(num_threads: int) -> None:
    results = in_order(lambda item: item, Counted(9, error_at=5).items, num_threads)
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(OSError, match="gone"):
        next(results)
    results = in_order(lambda item: 10 // (3 - item), iter(range(9)), num_threads)
    assert [next(results) for _ in range(3)] == [3, 5, 10]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("num_threads", [0, 1, 2])
def test_a_closed_one_closes_its_items_and_leaves_no_thread(num_threads: int) -> None:
    counted, num_before = Counted(100), threading.active_count()
    results = in_order(lambda item: item, counted.items, num_threads)
    next(results)
    results.close()
    assert counted.closed
    assert threading.active_count() == num_before
