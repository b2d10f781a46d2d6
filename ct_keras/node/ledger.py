"""The state of every series, as the journal tells it.

A series goes through these states, each entered by one line of the journal:

    opened -> received (for each instance) -> complete -> denoised
        -> sent (for each derived instance) -> finished

A batch is what came of one series until it was complete. The journal holds no value of
a header: series are keyed hashes, instances the SHA-256 of their bytes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from ct_keras.node.journal import Journal

#: For so long an instance that comes again is known to be done.
REMEMBERED_DAYS = 30
_DAY = 86400


class State(Enum):
    """How far a batch has come."""

    RECEIVING = "receiving"
    COMPLETE = "complete"
    DENOISED = "denoised"
    FINISHED = "finished"


@dataclass
class Batch:
    """What came of one series until it was complete.

    Attributes:
        name: A random name, also that of its folders.
        series: Keyed hash of the series.
        state: How far it has come.
        files: SHA-256 of each received instance -> its size in bytes.
        attempts: How often denoising began.
        instances: Derived instances to send, as paths in its folder.
        sent: Those that the peer has taken.
        refusals: Codes and texts of what was refused.
        refused: Whether it was finished without a result, so that it may come again.
        finished: When it was finished, in seconds since 1970.
    """

    name: str
    series: str
    state: State = State.RECEIVING
    files: dict[str, int] = field(default_factory=dict)
    attempts: int = 0
    instances: list[str] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)
    refusals: list[str] = field(default_factory=list)
    refused: bool = False
    finished: float = 0.0

    @property
    def waiting(self) -> list[str]:
        """Derived instances that the peer has not taken yet."""
        return [name for name in self.instances if name not in self.sent]

    def apply(self, event: dict) -> None:
        """Takes over what one line of the journal says."""
        kind = event["event"]
        if kind == "received":
            self.files[event["file"]] = event["bytes"]
        elif kind == "complete":
            self.state = State.COMPLETE
        elif kind == "started":
            self.attempts += 1
        elif kind == "denoised":
            self.state = State.DENOISED
            self.instances = list(event["instances"])
            self.refusals = list(event["refusals"])
        elif kind == "sent":
            self.sent.add(event["instance"])
        elif kind == "finished":
            self.state = State.FINISHED
            self.finished = event["time"]
            self.refusals = list(event["refusals"])
            self.refused = event["refused"]

    def events(self) -> Iterator[dict]:
        """The fewest lines from which the same state follows."""
        yield {"event": "opened", "batch": self.name, "series": self.series}
        for file, size in self.files.items():
            yield self._event("received", file=file, bytes=size)
        if self.state is not State.RECEIVING:
            yield self._event("complete")
        for _ in range(self.attempts):
            yield self._event("started")
        if self.state is State.DENOISED:
            refusals = self.refusals
            yield self._event("denoised", instances=self.instances, refusals=refusals)
            for instance in sorted(self.sent):
                yield self._event("sent", instance=instance)
        if self.state is State.FINISHED:
            outcome = {"refusals": self.refusals, "refused": self.refused}
            yield self._event("finished", time=self.finished, **outcome)

    def _event(self, kind: str, **details) -> dict:
        return {"event": kind, "batch": self.name, **details}


class Ledger:
    """All batches, and the journal in which they stand. For several threads.

    Args:
        journal: Where every change is written before it counts.
        configuration: What the results depend on. When it differs from the last time,
            instances that are done may come again, for another result.
    """

    def __init__(self, journal: Journal, configuration: str):
        self._lock = threading.RLock()
        self._journal = journal
        self._batches: dict[str, Batch] = {}
        self._known: dict[str, str] = {}
        last = None
        for event in journal.read():
            if event["event"] == "configured":
                last = event["configuration"]
            else:
                self._apply(event)
        self._configuration = configuration
        self._reconfigured = last != configuration

    def record(self, kind: str, batch: str, **details) -> Batch:
        """Writes one event to the journal, then to the state.

        Raises:
            OSError: If the journal cannot be written; then nothing changes.
        """
        event = {"event": kind, "batch": batch, **details}
        if kind == "finished":
            event["time"] = time.time()
        with self._lock:
            self._journal.append(event)
            return self._apply(event)

    def batches(self, *states: State) -> list[Batch]:
        """The batches in one of the states, oldest first."""
        with self._lock:
            return [each for each in self._batches.values() if each.state in states]

    def batch_of(self, file: str) -> str | None:
        """The batch of a received instance; None if it is new or may come again."""
        with self._lock:
            return self._known.get(file)

    def compact(self) -> None:
        """Forgets what was finished `REMEMBERED_DAYS` ago, and shortens the journal."""
        oldest = time.time() - REMEMBERED_DAYS * _DAY
        with self._lock:
            for batch in self.batches(State.FINISHED):
                if self._reconfigured or batch.finished < oldest:
                    del self._batches[batch.name]
                    self._forget(batch)
            header = {"event": "configured", "configuration": self._configuration}
            kept = (event for each in self._batches.values() for event in each.events())
            self._journal.rewrite([header, *kept])
            self._reconfigured = False

    def _apply(self, event: dict) -> Batch:
        name = event["batch"]
        if event["event"] == "opened":
            self._batches[name] = Batch(name, event["series"])
        batch = self._batches[name]
        batch.apply(event)
        if event["event"] == "received":
            self._known[event["file"]] = name
        elif event["event"] == "finished" and batch.refused:
            self._forget(batch)
        return batch

    def _forget(self, batch: Batch) -> None:
        for file in batch.files:
            if self._known.get(file) == batch.name:
                del self._known[file]
