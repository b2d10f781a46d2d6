"""The other ends of a DICOM node: a sender, and a peer that notes what arrives."""

import hashlib
import logging
import threading
import time
from collections import Counter
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
)

from ct_keras.dicom.checks import CT_CLASSES

#: Slices of the series of the fixtures.
SLICES = 3
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)


class RecordingPeer:
    """A storage provider: notes each instance, and answers as it is told.

    With `tells`, it answers whether it has an instance.
    """

    def __init__(self, port: int = 0, encryption=None, tells: bool = True):
        self.received: Counter = Counter()
        self.datasets: dict = {}
        self.contents: dict = {}
        self.answers: list[int | str] = []
        self.server = None
        self.port = port
        self.encryption = encryption
        self.tells = tells
        self.start()

    def start(self):
        entity = AE(ae_title="PEER")
        for sop_class in CT_CLASSES:
            entity.add_supported_context(sop_class)
        if self.tells:
            entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_FIND, self._find)]
        address = ("127.0.0.1", self.port)
        self.server = entity.start_server(
            address,
            block=False,
            evt_handlers=handlers,
            ssl_context=self.encryption and self.encryption.server(),
        )
        self.port = self.server.server_address[1]

    def stop(self):
        if self.server is not None:
            self.server.shutdown()
            self.server = None

    def _find(self, event):
        wanted = event.identifier
        assert wanted.QueryRetrieveLevel == "IMAGE"
        if wanted.SOPInstanceUID in self.received:
            yield 0xFF00, wanted
        yield 0x0000, None

    def _store(self, event) -> int:
        answer = self.answers.pop(0) if self.answers else 0x0000
        if answer in (0x0000, 0xB000, "abort"):
            uid = event.request.AffectedSOPInstanceUID
            self.received[uid] += 1
            content = event.encoded_dataset(include_meta=False)
            self.contents.setdefault(uid, set()).add(hashlib.sha256(content).digest())
            self.datasets[uid] = event.dataset
        if answer == "abort":  # it has the instance, and does not say so
            event.assoc.abort()
        return answer


def send(
    folder: Path,
    port: int,
    *,
    calling="SENDER",
    called="NODE",
    stop_after=None,
    tls=None,
) -> list[int | None]:
    """Sends a folder; returns the status of each instance, [] if it is not let in.

    After `stop_after` instances the association is aborted.
    """
    paths = sorted(folder.rglob("*.dcm"))
    entity = AE(ae_title=calling)
    for syntax in {dcmread(path).file_meta.TransferSyntaxUID for path in paths}:
        entity.add_requested_context(CTImageStorage, syntax)
    association = entity.associate("127.0.0.1", port, ae_title=called, tls_args=tls)
    if not association.is_established:
        return []
    statuses = []
    for number, path in enumerate(paths):
        if number == stop_after:
            association.abort()
            return statuses
        answer = association.send_c_store(dcmread(path))
        statuses.append(answer.Status if "Status" in answer else None)
        if statuses[-1] is None:
            break
    association.release()
    return statuses


def wait_for(condition, seconds: float = 20.0) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        threading.Event().wait(0.05)
