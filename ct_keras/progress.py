"""Progress bars on standard error, hidden if it is not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def track(
    items: Iterable[T],
    description: str,
    *,
    total: int | None = None,
    enabled: bool = True,
) -> Iterator[T]:
    """Yields the items and shows a progress bar.

    Args:
        items: Any iterable.
        description: What is being done, in two or three words.
        total: The number of items, if `items` has no length.
        enabled: False hides the bar; library functions pass their argument `progress`.
    """
    if not (enabled and sys.stderr.isatty()):
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as rich_track

    if total is None and hasattr(items, "__len__"):
        total = len(items)
    yield from rich_track(
        items, description, total=total, console=Console(stderr=True), transient=True
    )
