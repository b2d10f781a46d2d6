"""The folder of a command that writes one part for each series."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ct_keras.files import atomic_folder, entries_of, folder_lock, write_marker


@contextlib.contextmanager
def parts_of(out: Path | None, kind: str, several: bool, overwrite: bool):
    """The folder for the parts of OUT; several replace it together, at the end."""
    if several and overwrite and out is not None and out.is_dir() and entries_of(out):
        with atomic_folder(out, overwrite=True, kind=kind) as folder:
            yield folder
    elif several and out is not None:
        with folder_lock(out):
            yield out
    else:
        yield out


def claim(folder: Path | None, kind: str) -> None:
    """Marks a folder of several parts, each of which has its own marker."""
    if folder is not None:
        write_marker(folder, kind, files=())
