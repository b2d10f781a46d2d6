"""Sends derived series on until the peer has taken every instance."""

from __future__ import annotations

import logging
import threading
import time

from pydicom import Dataset, dcmread

from ct_keras.dicom.values import quiet_pydicom
from ct_keras.node.caller import BrokenOffError, Caller, store
from ct_keras.node.ledger import Batch, Ledger, State
from ct_keras.node.settings import NodeSettings
from ct_keras.node.spool import Spool

_LOG = logging.getLogger(__name__)
_TICK_SECONDS = 0.1


class Forwarder:
    """Sends what is denoised, in a thread of its own.

    An instance counts as sent when the peer has answered so and that stands in the
    journal. Anything else is tried again, after a wait that doubles each time. Where an
    answer may have been lost, by a kill or a broken connection, the peer is asked first
    (C-FIND); one that does not say gets the same instance once more.

    Args:
        settings: Where results go.
        spool: Where the files are.
        ledger: Where it is written what the peer has taken.
        stopping: Ends the work, between two instances.

    Attributes:
        reachable: Whether the last association came about; None before the first.
        failures: Attempts that failed since the last success.
    """

    def __init__(
        self,
        settings: NodeSettings,
        spool: Spool,
        ledger: Ledger,
        stopping: threading.Event,
    ):
        self.reachable: bool | None = None
        self.failures = 0
        self._settings = settings
        self._caller = Caller(settings)
        self._spool = spool
        self._ledger = ledger
        self._stopping = stopping
        self._doubtful = {batch.name for batch in ledger.batches(State.DENOISED)}
        self._waits: dict[str, float] = {}
        self._not_before: dict[str, float] = {}

    def run(self) -> None:
        """Works until the node stops."""
        while not self._stopping.wait(_TICK_SECONDS):
            for batch in self._ledger.batches(State.DENOISED):
                if self._stopping.is_set():
                    return
                if self._not_before.get(batch.name, 0.0) > time.monotonic():
                    continue
                try:
                    with quiet_pydicom():
                        self._forward(batch)
                except OSError as error:  # of the journal: nothing has changed
                    self._postpone(batch, f"the journal: {error.strerror}")

    def _forward(self, batch: Batch) -> None:
        problem = self._send(batch) if batch.waiting else None
        if batch.state is not State.DENOISED:
            return
        if batch.waiting:
            if not self._stopping.is_set():
                self._postpone(batch, problem or "the peer did not take all instances")
            return
        self.failures = 0
        self._ledger.record(
            "finished", batch.name, refusals=batch.refusals, refused=False
        )
        self._spool.clear(batch)
        _LOG.info("batch %s: %d instances sent", batch.name, len(batch.instances))

    def _send(self, batch: Batch) -> str | None:
        """Sends what is waiting; returns what went wrong."""
        association = self._caller.associate() if self._ask(batch) else None
        self.reachable = association is not None
        if association is None:
            return "the peer cannot be reached"
        try:
            for instance in batch.waiting:
                if self._stopping.is_set():
                    return None
                dataset = self._read(batch, instance)
                if dataset is None:
                    return None
                problem = store(association, dataset)
                if problem is not None:
                    return problem
                self._ledger.record("sent", batch.name, instance=instance)
        except BrokenOffError:
            self._doubtful.add(batch.name)
            return "the peer broke off"
        finally:
            if association.is_established:
                association.release()
        return None

    def _ask(self, batch: Batch) -> bool:
        """Asks for the instance whose answer may have been lost: the next to send.

        Returns:
            False if the peer cannot be reached.
        """
        if batch.name not in self._doubtful:
            return True
        instance = batch.waiting[0]
        dataset = self._read(batch, instance)
        found = dataset is not None and self._caller.has(dataset)
        if found is None:
            return False
        if found:
            self._ledger.record("sent", batch.name, instance=instance)
        self._doubtful.remove(batch.name)
        return True

    def _read(self, batch: Batch, instance: str) -> Dataset | None:
        """Reads a derived instance; one that is damaged is made again."""
        try:
            return dcmread(self._spool.denoised(batch.name) / instance)
        except Exception:  # pydicom raises many types for damaged files
            _LOG.warning("batch %s: damaged in the spool, made again", batch.name)
            self._ledger.record("complete", batch.name)
            return None

    def _postpone(self, batch: Batch, problem: str) -> None:
        self.failures += 1
        settings = self._settings
        wait = self._waits.get(batch.name, settings.first_retry_seconds / 2) * 2
        wait = min(wait, settings.longest_retry_seconds)
        self._waits[batch.name] = wait
        self._not_before[batch.name] = time.monotonic() + wait
        _LOG.warning(
            "CTK-W107 batch %s: %s; trying again in %g s", batch.name, problem, wait
        )
