"""Ordered work in several processes, with a bounded number of results in memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2

from ct_keras.errors import CtKerasError

A = TypeVar("A")
B = TypeVar("B")


class Workers:
    """Worker processes; use it as a context manager.

    Args:
        count: Number of processes; 1 runs the jobs in this process.

    Example:
        >>> with Workers(1) as workers:
        ...     list(workers.map(abs, [-1, 2]))
        [1, 2]
    """

    def __init__(self, count: int):
        self.count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        if self.count > 1:
            # Spawned, not forked: the caller may have started TensorFlow's threads.
            self._pool = ProcessPoolExecutor(
                self.count,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
            )
        return self

    def __exit__(self, *error) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def map(self, function: Callable[[A], B], jobs: Iterable[A]) -> Iterator[B]:
        """Yields the results in the order of the jobs.

        Args:
            function: A module-level function, or a partial of one.
            jobs: Picklable arguments, consumed as needed.

        Raises:
            CtKerasError: What a job raised; CTK-E079, if a process was killed.
        """
        if self._pool is None:
            yield from map(function, jobs)
            return
        waiting: deque = deque()
        try:
            for job in jobs:
                waiting.append(self._pool.submit(function, job))
                if len(waiting) > 2 * self.count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise CtKerasError(
                "CTK-E079",
                "a worker process was killed",
                fix="if memory ran out, use fewer workers; a script must "
                "call this inside if __name__ == '__main__'",
            ) from error


def _start_worker() -> None:
    """Limits OpenCV to one thread, ignores Ctrl-C and ends with the parent process."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
