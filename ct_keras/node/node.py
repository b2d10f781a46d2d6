"""A running node: its parts, and the order in which they start and stop."""

from __future__ import annotations

import contextlib
import logging
import threading
import time

from ct_keras.files import folder_lock
from ct_keras.node import status
from ct_keras.node.forwarder import Forwarder
from ct_keras.node.intake import Intake
from ct_keras.node.journal import Journal
from ct_keras.node.ledger import Ledger, State
from ct_keras.node.quiet import no_header_values
from ct_keras.node.receiver import Receiver
from ct_keras.node.settings import NodeSettings
from ct_keras.node.spool import Spool
from ct_keras.node.worker import Work, Worker

_LOG = logging.getLogger(__name__)
#: Seconds between two status documents, and between two lines in the log.
_STATUS_SECONDS, _LINE_SECONDS = 5.0, 60.0
_COMPACT_SECONDS = 86400.0
#: Seconds in which the threads end: the longest that one slice may take.
_STOP_SECONDS = 60.0


class Node:
    """Receives, denoises and sends on until it is stopped.

    Use it as a context manager: it listens when the block begins, and has stopped when
    the block ends. What was under way goes on after the next start.

    Args:
        settings: Who may send, where results go, and the limits.
        work: How series are denoised.
        spool: The folder of the node.

    Raises:
        CtKerasError: CTK-E071, if the spool is in use or not of a node; CTK-E100, if
            the port cannot be used; CTK-E101, if the journal is damaged.
    """

    def __init__(self, settings: NodeSettings, work: Work, spool: Spool):
        self._settings = settings
        self._work = work
        self._spool = spool
        self._stopping = threading.Event()
        self._resources = contextlib.ExitStack()
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._receiver.port

    def __enter__(self) -> Node:
        with self._resources:
            self._resources.enter_context(folder_lock(self._spool.folder))
            self._resources.enter_context(no_header_values())
            self._start()
            self._resources = self._resources.pop_all()
        return self

    def __exit__(self, *_) -> None:
        with self._resources:
            self._stopping.set()
            self._receiver.stop()
            deadline = time.monotonic() + _STOP_SECONDS
            for thread in self._threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            status.write(self._spool.status, self.status() | {"running": False})
        _LOG.info("stopped; what was under way goes on after the next start")

    def _start(self) -> None:
        settings, spool = self._settings, self._spool
        configuration = self._work.configuration
        journal = Journal(spool.journal)
        self._resources.callback(journal.close)
        self._ledger = ledger = Ledger(journal, configuration)
        under_way = ledger.batches(State.RECEIVING, State.COMPLETE, State.DENOISED)
        spool.recover(under_way, ledger.batches(State.FINISHED))
        ledger.compact()
        intake = Intake(
            ledger,
            quiet_seconds=settings.quiet_seconds,
            release_seconds=settings.release_seconds,
        )
        self._receiver = Receiver(settings, spool, ledger, intake)
        self._forwarder = Forwarder(settings, spool, ledger, self._stopping)
        worker = Worker(self._work, spool, ledger, intake, self._stopping)
        self._receiver.start()
        self._threads = [
            threading.Thread(target=part.run, daemon=True)
            for part in (worker, self._forwarder)
        ]
        for thread in self._threads:
            thread.start()
        if settings.is_open and settings.encryption is None:
            _LOG.warning("CTK-W110 other machines may send, and without TLS")
        host, peer = settings.host, settings.forward
        _LOG.info(
            "listening on %s:%d as %s, sending to %s@%s:%d",
            *(host, self.port, settings.aet, peer.aet, peer.host, peer.port),
        )

    def status(self) -> dict:
        """How it is; see `ct_keras.node.status`."""
        return status.measure(self._ledger, self._spool, self._forwarder, self.port)

    def healthy(self) -> bool:
        """Whether all parts are alive."""
        return all(thread.is_alive() for thread in self._threads)

    def watch(self) -> None:
        """Writes status and log lines; returns when a part has ended."""
        next_line = next_compact = time.monotonic()
        next_compact += _COMPACT_SECONDS
        while self.healthy():
            found = self.status()
            status.write(self._spool.status, found)
            if time.monotonic() >= next_line:
                _LOG.info("%s", status.line(found))
                next_line += _LINE_SECONDS
            if time.monotonic() >= next_compact:
                self._ledger.compact()
                next_compact += _COMPACT_SECONDS
            self._stopping.wait(_STATUS_SECONDS)
