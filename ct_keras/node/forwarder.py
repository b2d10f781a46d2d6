"""Sends derived series on until the peer has taken every instance."""

from __future__ import annotations

import logging
import threading
import time

from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE

from ct_keras.dicom.checks import CT_CLASSES
from ct_keras.dicom.values import quiet_pydicom
from ct_keras.node.ledger import Batch, Ledger, State
from ct_keras.node.settings import NodeSettings
from ct_keras.node.spool import Spool

_LOG = logging.getLogger(__name__)
_TICK_SECONDS = 0.1
_TIMEOUT_SECONDS = 60
#: Answers after which the peer has the instance: success, "already there", and the
#: warnings (values coerced, elements discarded, odd for its class).
_TAKEN = frozenset({0x0000, 0x0111, 0xB000, 0xB006, 0xB007})
_SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


class Forwarder:
    """Sends what is denoised, in a thread of its own.

    An instance counts as sent when the peer has answered so and that stands in the
    journal. Anything else is tried again, after a wait that doubles each time.

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
        self._spool = spool
        self._ledger = ledger
        self._stopping = stopping
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
        association = self._associate()
        if association is None:
            self.reachable = False
            return "the peer cannot be reached"
        self.reachable = True
        try:
            for instance in batch.waiting:
                if self._stopping.is_set():
                    return None
                dataset = self._read(batch, instance)
                if dataset is None:
                    return None
                problem = _store(association, dataset)
                if problem is not None:
                    return problem
                self._ledger.record("sent", batch.name, instance=instance)
        finally:
            if association.is_established:
                association.release()
        return None

    def _read(self, batch: Batch, instance: str) -> Dataset | None:
        """Reads a derived instance; one that is damaged is made again."""
        try:
            return dcmread(self._spool.denoised(batch.name) / instance)
        except Exception:  # pydicom raises many types for damaged files
            _LOG.warning("batch %s: damaged in the spool, made again", batch.name)
            self._ledger.record("complete", batch.name)
            return None

    def _associate(self):
        """An association with the peer, or None."""
        settings = self._settings
        entity = AE(ae_title=settings.aet)
        for sop_class in sorted(CT_CLASSES):
            entity.add_requested_context(sop_class, _SYNTAXES)
        entity.acse_timeout = entity.dimse_timeout = _TIMEOUT_SECONDS
        entity.network_timeout = entity.connection_timeout = _TIMEOUT_SECONDS
        peer = settings.forward
        encryption = settings.encryption if settings.encrypt_forward else None
        association = entity.associate(
            peer.host,
            peer.port,
            ae_title=peer.aet,
            tls_args=(encryption.client(), peer.host) if encryption else None,
        )
        return association if association.is_established else None

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


def _store(association, dataset: Dataset) -> str | None:
    """Sends one instance; returns why the peer has not taken it."""
    try:
        answer = association.send_c_store(dataset)
    except (ValueError, RuntimeError, AttributeError) as error:
        return f"an instance could not be sent: {type(error).__name__}"
    status = answer.Status if "Status" in answer else None
    if status is None:
        return "the peer broke off"
    if status not in _TAKEN:
        return f"the peer refused an instance with status {status:#06x}"
    return None
