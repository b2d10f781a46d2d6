"""Reads, computes and writes at the same time, and never more than a few slices apart.

The caller computes; one thread reads for it and one writes for it, each in order. What
goes wrong in a thread is raised in the caller, and no thread outlives the caller.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

#: Slices that wait in front of the computation, and as many behind it.
WAITING = 2


@contextlib.contextmanager
def read_ahead(read: Callable[[int], T], count: int) -> Iterator[Iterator[T]]:
    """Reads items in a thread, before they are needed.

    Args:
        read: Returns the item of an index.
        count: Number of items.

    Yields:
        An iterator of the items in order. It raises what `read` raised.
    """
    with _one_thread() as pool:
        yield _in_order(pool, read, range(count))


@contextlib.contextmanager
def write_behind(
    write: Callable[..., object],
) -> Iterator[Callable[..., None]]:
    """Calls `write` in a thread while the next items are computed.

    Args:
        write: Takes an item; called in the order of the items.

    Yields:
        A function with the arguments of `write`, which returns at once unless `WAITING`
        items are behind. It raises what `write` raised for an earlier item, and so does
        the end of the `with` block, which waits for the last item.
    """
    under_way: deque[Future] = deque()

    def put(*item) -> None:
        if len(under_way) == WAITING:
            under_way.popleft().result()
        under_way.append(pool.submit(write, *item))

    with _one_thread() as pool:
        yield put
        while under_way:
            under_way.popleft().result()


@contextlib.contextmanager
def _one_thread() -> Iterator[ThreadPoolExecutor]:
    """A thread that ends with the block; what it has not begun by then is dropped."""
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ThreadPoolExecutor, read: Callable[[int], T], indices: Iterable[int]
) -> Iterator[T]:
    """Yields `read(index)` while at most `WAITING` more are read."""
    coming: deque[Future] = deque()
    for index in indices:
        if len(coming) == WAITING:
            yield coming.popleft().result()
        coming.append(pool.submit(read, index))
    while coming:
        yield coming.popleft().result()
