"""A file of lines that are on the disk before anyone relies on them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from ct_keras.errors import CtKerasError
from ct_keras.files import sync, write_text


class Journal:
    """One JSON object a line, only ever appended.

    A line that a kill or a full disk cut short was never relied on: it is removed when
    the journal is opened, or at once.

    Args:
        path: The file; made if it does not exist.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        sync(path.parent)

    def read(self) -> list[dict]:
        """Returns all events in order.

        Raises:
            CtKerasError: CTK-E101, if a line before the last is damaged.
        """
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            self._cut(len(whole))
        try:
            events = [json.loads(line) for line in whole.splitlines()]
            if all(isinstance(event, dict) for event in events):
                return events
        except ValueError:
            pass
        raise CtKerasError(
            "CTK-E101",
            "the journal of the node is damaged",
            received=self.path.name,
            fix="check the disk; move the folder of the spool away and send its files "
            "again",
        )

    def append(self, event: dict) -> None:
        """Writes one event and returns when it is on the disk.

        Raises:
            OSError: If it cannot be written; then nothing of it is left.
        """
        line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        size = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) < len(line):
                raise OSError("the disk took a part of a line")
            os.fsync(self._file)
        except OSError:
            self._cut(size)
            raise

    def rewrite(self, events: Iterable[dict]) -> None:
        """Replaces all events at once."""
        lines = (json.dumps(event, separators=(",", ":")) + "\n" for event in events)
        write_text(self.path, "".join(lines))
        os.close(self._file)
        self._file = os.open(self.path, os.O_RDWR | os.O_APPEND)

    def close(self) -> None:
        """Closes the file; what is appended later fails."""
        os.close(self._file)
        self._file = -1

    def _cut(self, size: int) -> None:
        os.ftruncate(self._file, size)
        os.fsync(self._file)
