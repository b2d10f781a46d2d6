"""The files of the series under way.

    received/BATCH/SHA256.dcm       as they came, on the disk before they are answered
    denoised/BATCH/series-N/        derived series, until the peer has taken them
    refused/BATCH/                  what could not be denoised, and refusal.json: why
    journal.jsonl                   see `ledger`
    key                             of the hashes in the journal
    status.json                     see `status`

All names are generated; none comes from a header.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from ct_keras.errors import CtKerasError
from ct_keras.files import MARKER, entries_of, sync, write_marker, write_text
from ct_keras.node.ledger import Batch

KIND = "node spool"
_KEY_BYTES = 32
_FOLDERS = ("incoming", "received", "denoised", "refused")


class Spool:
    """The folder of a node.

    Args:
        folder: A new or empty folder, or that of an earlier run.

    Raises:
        CtKerasError: CTK-E071, if it holds something else.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        if not (folder / MARKER).is_file():
            if folder.is_dir() and entries_of(folder):
                raise CtKerasError(
                    "CTK-E071",
                    "the folder of the spool holds files that are not of a node",
                    received=folder.name,
                    expected="a new or empty folder, or the spool of an earlier run",
                    fix="choose another folder (--spool of listen)",
                )
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            write_marker(folder, KIND, files=())
        for name in _FOLDERS:
            (folder / name).mkdir(mode=0o700, exist_ok=True)
        self._key = self._read_key()

    @property
    def journal(self) -> Path:
        """The journal."""
        return self.folder / "journal.jsonl"

    @property
    def status(self) -> Path:
        """The status document."""
        return self.folder / "status.json"

    def received(self, batch: str) -> Path:
        """The folder of received instances."""
        return self.folder / "received" / batch

    def denoised(self, batch: str) -> Path:
        """The folder of derived series."""
        return self.folder / "denoised" / batch

    def refused(self, batch: str) -> Path:
        """The folder of what was refused."""
        return self.folder / "refused" / batch

    def hashed(self, text: str) -> str:
        """A keyed hash that shows only whether two texts are the same."""
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:32]

    @contextlib.contextmanager
    def incoming(self, data: bytes) -> Iterator[Path]:
        """Yields a file that holds the data, on the disk; it goes unless it was moved.

        Raises:
            OSError: If it cannot be written.
        """
        path = self.folder / "incoming" / secrets.token_hex(16)
        try:
            with open(path, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    def keep(self, path: Path, batch: str, file: str) -> None:
        """Moves an incoming file into its batch; it is on the disk afterwards."""
        folder = self.received(batch)
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            sync(folder.parent)
        os.rename(path, folder / f"{file}.dcm")
        sync(folder)

    def derived(self, batch: str) -> list[str]:
        """The derived instances, as paths in their folder; on the disk afterwards."""
        folder = self.denoised(batch)
        sync(folder.parent)
        found = folder.glob("*/*.dcm")
        return sorted(path.relative_to(folder).as_posix() for path in found)

    def missing(self, batch: Batch) -> int:
        """How many of the received files are not there or have another size."""
        folder = self.received(batch.name)
        return sum(
            not _has_size(folder / f"{file}.dcm", size)
            for file, size in batch.files.items()
        )

    def recover(self, batches: list[Batch], finished: list[Batch]) -> None:
        """Removes what a killed run had begun and not written into its journal.

        Args:
            batches: Those under way. The folders of all others go too.
            finished: Those that may not be cleared yet.
        """
        for batch in finished:
            self.clear(batch)
        shutil.rmtree(self.folder / "incoming")
        (self.folder / "incoming").mkdir(mode=0o700)
        named = {batch.name: batch for batch in batches}
        for kind in ("received", "denoised"):
            for folder in (self.folder / kind).iterdir():
                if folder.name not in named:
                    shutil.rmtree(folder)
        for batch in batches:
            for path in _files(self.received(batch.name)):
                if path.stem not in batch.files:
                    path.unlink()

    def clear(self, batch: Batch) -> None:
        """Removes the files of a finished batch; what was refused is kept apart."""
        received, refused = self.received(batch.name), self.refused(batch.name)
        if batch.refusals and received.is_dir():
            write_text(
                received / "refusal.json",
                json.dumps({"refusals": batch.refusals}, indent=1) + "\n",
            )
            if refused.exists():
                shutil.rmtree(refused)
            os.rename(received, refused)
            sync(refused.parent)
        for folder in (received, self.denoised(batch.name)):
            shutil.rmtree(folder, ignore_errors=True)

    def size(self) -> int:
        """Bytes of everything in the spool."""
        total = 0
        for place, _, names in os.walk(self.folder):
            for name in names:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(place, name)).st_size
        return total

    def free(self) -> int:
        """Bytes that are free on its disk."""
        return shutil.disk_usage(self.folder).free

    def _read_key(self) -> bytes:
        path = self.folder / "key"
        if not path.is_file():
            write_text(path, secrets.token_hex(_KEY_BYTES))
        return path.read_bytes()


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
