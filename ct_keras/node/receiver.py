"""C-ECHO and C-STORE of a node: takes CT in, and answers when it is on the disk."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable

from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from ct_keras.dicom.checks import CT_CLASSES, READABLE_SYNTAXES
from ct_keras.dicom.headers import scan_file
from ct_keras.dicom.values import quiet_pydicom
from ct_keras.errors import CtKerasError
from ct_keras.inputs.options import DEFAULT_OPTIONS
from ct_keras.node import acceptor
from ct_keras.node.intake import Intake
from ct_keras.node.ledger import Ledger
from ct_keras.node.settings import NodeSettings
from ct_keras.node.spool import Spool

_LOG = logging.getLogger(__name__)
_SUCCESS = 0x0000
#: The sender may try again later.
_OUT_OF_RESOURCES = 0xA700
#: Seconds in which a sender must notice that the node stops.
_ABORT_SECONDS = 5.0
#: Seconds between two lines about one address, and addresses that are remembered.
_SELDOM_SECONDS, _MOST_STRANGERS = 60.0, 1000
#: Seconds for which a measured size of the spool holds.
_MEASURED_SECONDS = 5.0


class Receiver:
    """The DICOM services that others call.

    Args:
        settings: Who may send, and the limits.
        spool: Where instances are kept.
        ledger: Where it is written that they are there.
        intake: Which batch they belong to.
    """

    def __init__(
        self, settings: NodeSettings, spool: Spool, ledger: Ledger, intake: Intake
    ):
        self._settings = settings
        self._spool = spool
        self._ledger = ledger
        self._intake = intake
        self._room = _Room(settings, spool)
        self._strangers = _Strangers()
        self._pace = _Pace(settings.limits.instances_per_second)
        self._server: acceptor.BoundedServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port, once it is started."""
        return self._server.server_address[1]

    def start(self) -> None:
        """Begins to listen.

        Raises:
            CtKerasError: CTK-E100, if the address cannot be used; CTK-E102, the TLS
                certificate.
        """
        settings = self._settings
        encryption = settings.encryption
        address = (settings.host, settings.port)
        try:
            self._server = _entity(settings).make_server(
                address,
                ae_title=settings.aet,
                ssl_context=encryption.server() if encryption else None,
                evt_handlers=self._handlers(),
                server_class=acceptor.BoundedServer,
                settings=settings,
                refused=self._strangers.note,
            )
        except OSError as error:
            raise CtKerasError(
                "CTK-E100",
                f"cannot listen: {error.strerror or 'unknown address'}",
                received=f"{settings.host}:{settings.port}",
                fix="choose another address or port (--host and --port of listen)",
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Takes no more; what was answered is safe."""
        self._server.shutdown()
        ending = [
            threading.Thread(target=association.abort, daemon=True)
            for association in self._server.active_associations
        ]
        for thread in ending:
            thread.start()
        for thread in ending:
            thread.join(_ABORT_SECONDS)

    def _handlers(self) -> list[tuple]:
        return [
            (evt.EVT_C_ECHO, lambda event: _SUCCESS),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_RELEASED, self._ended, [True]),
            (evt.EVT_ABORTED, self._ended, [False]),
            (evt.EVT_CONN_CLOSE, self._ended, [False]),
            (evt.EVT_REJECTED, self._note_rejected),
        ]

    def _ended(self, event, released: bool) -> None:
        self._intake.ended(id(event.assoc), released=released)

    def _note_rejected(self, event) -> None:
        self._strangers.note(event.assoc.requestor.address)

    def _store(self, event) -> int:
        """Answers a C-STORE; success only when the instance is on the disk."""
        try:
            self._pace.wait(event.assoc.requestor.address)
            data = event.encoded_dataset()
            if not self._room.holds(len(data)):
                return _OUT_OF_RESOURCES
            self._take(event, data)
        except (OSError, CtKerasError) as error:
            _LOG.warning("CTK-W108 an instance was not taken: %s", _reason(error))
            return _OUT_OF_RESOURCES
        return _SUCCESS

    def _take(self, event, data: bytes) -> None:
        syntax = event.context.transfer_syntax.encode()
        content = event.encoded_dataset(include_meta=False)
        file = hashlib.sha256(syntax + b"\0" + content).hexdigest()
        sender = id(event.assoc)
        known = self._ledger.batch_of(file)
        if known is not None:
            self._intake.again(known, sender)
            return
        with self._spool.incoming(data) as path, quiet_pydicom():
            uid = scan_file(path, 1, DEFAULT_OPTIONS).series_uid
            series = self._spool.hashed(uid or f"unknown {sender}")
            with self._intake.batch(series, sender) as batch:
                self._spool.keep(path, batch, file)
                self._ledger.record("received", batch, file=file, bytes=len(data))


def _entity(settings: NodeSettings) -> AE:
    entity = AE(ae_title=settings.aet)
    entity.add_supported_context(Verification)
    for sop_class in CT_CLASSES:
        entity.add_supported_context(sop_class, sorted(READABLE_SYNTAXES))
    entity.require_called_aet = True
    entity.require_calling_aet = list(settings.allowed_aets)
    entity.maximum_associations = settings.limits.associations
    entity.maximum_pdu_size = acceptor.PDU_BYTES
    entity.network_timeout = acceptor.NETWORK_SECONDS
    entity.acse_timeout = acceptor.GREETING_SECONDS
    entity.dimse_timeout = acceptor.NETWORK_SECONDS
    return entity


class _Room:
    """Whether the spool may grow."""

    def __init__(self, settings: NodeSettings, spool: Spool):
        self._limits = settings.limits
        self._spool = spool
        self._lock = threading.Lock()
        self._measured = -_MEASURED_SECONDS
        self._size = 0

    def holds(self, size: int) -> bool:
        """Whether an instance of so many bytes is within the limits."""
        limits = self._limits
        problem = None
        with self._lock:
            if time.monotonic() - self._measured > _MEASURED_SECONDS:
                self._size = self._spool.size()
                self._measured = time.monotonic()
            if size > limits.instance_bytes:
                problem = "it is larger than one instance may be"
            elif self._size + size > limits.spool_bytes:
                problem = "the spool is full"
            elif self._spool.free() - size < limits.free_bytes:
                problem = "the disk of the spool is full"
            else:
                self._size += size
        if problem:
            _LOG.warning("CTK-W108 an instance was not taken: %s", problem)
        return problem is None


class _Pace:
    """Slows senders down that are faster than the limit, each address by itself."""

    def __init__(self, per_second: float, sleep: Callable[[float], None] = time.sleep):
        self._step = 1 / per_second
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}

    def wait(self, address: str) -> None:
        """Waits until the next instance of an address may be answered."""
        now = time.monotonic()
        with self._lock:
            # One second may come in a burst.
            due = max(self._next.get(address, 0.0), now - 1) + self._step
            self._next[address] = due
        if due > now:
            self._sleep(due - now)


def _reason(error: OSError | CtKerasError) -> str:
    """Why, without the name of a file."""
    if isinstance(error, CtKerasError):
        return error.code
    return error.strerror or "unknown reason"


class _Strangers:
    """Notes who was not let in, at most once a minute for each address."""

    def __init__(self):
        self._lock = threading.Lock()
        self._noted: dict[str, float] = {}

    def note(self, address: str) -> None:
        """Notes an address; its AE titles may be anything, and are not shown."""
        now = time.monotonic()
        with self._lock:
            if now - self._noted.get(address, -_SELDOM_SECONDS) < _SELDOM_SECONDS:
                return
            if len(self._noted) >= _MOST_STRANGERS:
                self._noted.clear()
            self._noted[address] = now
        _LOG.warning("CTK-W109 a connection from %s was refused", address)
