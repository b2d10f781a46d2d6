"""Which series are being received, and when they are complete."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from ct_keras.node.ledger import Ledger, State


@dataclass
class _Open:
    """A batch that is being received.

    Attributes:
        senders: Open associations that sent to it.
        writing: Instances that are being written at this moment.
        released: Whether the last of its senders closed the association properly.
        changed: When something last happened, by the monotonic clock.
    """

    senders: set[Hashable] = field(default_factory=set)
    writing: int = 0
    released: bool = False
    changed: float = field(default_factory=time.monotonic)


class Intake:
    """Gives each instance its batch, and tells which batches are complete.

    A batch is complete when its senders have closed their associations and nothing
    came for a short while, or when nothing came for `quiet_seconds`. An association
    that broke may come back, so only the longer time counts then. After a restart all
    batches wait for that time.

    Args:
        ledger: Where batches are opened.
        quiet_seconds: How long nothing must come.
        release_seconds: The same after the senders closed their associations.
    """

    def __init__(self, ledger: Ledger, *, quiet_seconds: float, release_seconds: float):
        self._ledger = ledger
        self._quiet_seconds = quiet_seconds
        self._release_seconds = min(release_seconds, quiet_seconds)
        self._lock = threading.Lock()
        found = ledger.batches(State.RECEIVING)
        self._open = {batch.name: _Open() for batch in found}
        self._of_series = {batch.series: batch.name for batch in found}

    @contextlib.contextmanager
    def batch(self, series: str, sender: Hashable) -> Iterator[str]:
        """Yields the name of the batch of a series, which stays open in the block.

        Args:
            series: Keyed hash of the series.
            sender: The association.
        """
        with self._lock:
            name = self._of_series.get(series)
            if name is None:
                name = secrets.token_hex(8)
                self._ledger.record("opened", name, series=series)
                self._of_series[series] = name
                self._open[name] = _Open()
            state = self._open[name]
            state.senders.add(sender)
            state.writing += 1
        try:
            yield name
        finally:
            with self._lock:
                state.writing -= 1
                state.changed = time.monotonic()

    def again(self, name: str, sender: Hashable) -> None:
        """Notes that an instance came again, whose batch may still be open."""
        with self._lock:
            if state := self._open.get(name):
                state.senders.add(sender)
                state.changed = time.monotonic()

    def ended(self, sender: Hashable, *, released: bool) -> None:
        """Notes that an association has ended, released or broken."""
        with self._lock:
            for state in self._open.values():
                if sender in state.senders:
                    state.senders.remove(sender)
                    state.released = released
                    state.changed = time.monotonic()

    def close_due(self) -> list[str]:
        """Closes the batches that are complete, and returns their names."""
        with self._lock:
            names = [name for name, state in self._open.items() if self._is_due(state)]
            for name in names:
                batch = self._ledger.record("complete", name)
                del self._open[name], self._of_series[batch.series]
        return names

    def _is_due(self, state: _Open) -> bool:
        if state.writing:
            return False
        ended = state.released and not state.senders
        wait = self._release_seconds if ended else self._quiet_seconds
        return time.monotonic() - state.changed >= wait
