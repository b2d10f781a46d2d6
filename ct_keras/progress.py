"""Progress of long work: a bar in a terminal, a line in a notebook, else nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")
#: Seconds between two states of the line in a notebook.
_PAUSE_S = 0.5


def track(
    items: Iterable[T],
    description: str,
    *,
    total: int | None = None,
    enabled: bool = True,
) -> Iterator[T]:
    """Yields the items and shows the progress.

    Args:
        items: Any iterable.
        description: What is being done, in two or three words.
        total: The number of items, if `items` has no length.
        enabled: False shows nothing; library functions pass their argument `progress`.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    meter = start_meter(description, total) if enabled else None
    if meter is None:
        yield from items
        return
    try:
        for item in items:
            yield item
            meter.step()
    finally:
        meter.close()


class Meter(Protocol):
    """What shows progress."""

    def step(self, description: str | None = None) -> None:
        """Counts one step, perhaps under another description."""

    def close(self) -> None:
        """Ends the display."""


def start_meter(description: str, total: int | None, done: int = 0) -> Meter | None:
    """Starts the display that fits where the program runs.

    Args:
        description: What is being done.
        total: The number of steps, if known.
        done: Steps that an earlier run has done.

    Returns:
        A bar on standard error if it is a terminal, a line below the cell of a
        notebook, otherwise (also for no steps) None.
    """
    if total == 0:
        return None
    if sys.stderr.isatty():
        return _Bar(description, total, done)
    if type(sys.stdout).__module__.startswith("ipykernel"):  # the kernel of a notebook
        return _Line(description, total, done)
    return None


class _Bar:
    """A bar of rich, which disappears at the end."""

    def __init__(self, description: str, total: int | None, done: int):
        from rich.console import Console
        from rich.progress import Progress

        self._bar = Progress(console=Console(stderr=True), transient=True)
        self._bar.start()
        self._task = self._bar.add_task(description, total=total, completed=done)

    def step(self, description: str | None = None) -> None:
        self._bar.update(self._task, advance=1, description=description)

    def close(self) -> None:
        self._bar.stop()


class _Line:
    """One line that is replaced, with steps and seconds; the last state stays."""

    def __init__(self, description: str, total: int | None, done: int):
        from IPython.display import display

        self._description, self._total, self._done = description, total, done
        self._start = self._shown = time.monotonic()
        self._line = display(self._text(), raw=True, display_id=True)

    def step(self, description: str | None = None) -> None:
        self._done += 1
        self._description = description or self._description
        if time.monotonic() - self._shown > _PAUSE_S:
            self._shown = time.monotonic()
            self.close()

    def close(self) -> None:
        self._line.update(self._text(), raw=True)

    def _text(self) -> dict[str, str]:
        of = "" if self._total is None else f" of {self._total}"
        seconds = time.monotonic() - self._start
        text = f"{self._description}: {self._done}{of}, {seconds:.0f} s"
        return {"text/plain": text}
