"""The folder of a command that writes one part for each series."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ct_keras.files import (
    MARKER,
    atomic_folder,
    entries_of,
    folder_lock,
    write_marker,
)


@contextlib.contextmanager
def parts_of(out: Path | None, kind: str, several: bool, overwrite: bool):
    """The folder for the parts of OUT; several replace it together, at the end."""
    if several and overwrite and out is not None and out.is_dir() and entries_of(out):
        with atomic_folder(out, overwrite=True, kind=kind) as folder:
            yield folder
    elif several and out is not None:
        with folder_lock(out), _claimed(out, kind):
            yield out
    else:
        yield out


@contextlib.contextmanager
def _claimed(folder: Path, kind: str):
    """Marks a folder of several parts, each of which has its own marker.

    The mark comes before the parts, so that after a kill the folder can be replaced.
    """
    write_marker(folder, kind, files=())
    try:
        yield
    finally:
        marker = folder / MARKER
        if entries_of(folder) == [marker]:
            marker.unlink()
