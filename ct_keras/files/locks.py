"""Locks that the system releases when their process ends for any reason."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from ct_keras.errors import CtKerasError
from ct_keras.files.failures import write_errors
from ct_keras.files.labels import label_of
from ct_keras.files.marker import TEMPORARY_PREFIX

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_LOCK_FILE = f"{TEMPORARY_PREFIX}lock"
_BUSY = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


class LocksUnsupportedError(Exception):
    """This file system or operating system does not support locks."""


def lock_file(path: Path, *, create: bool = True) -> int | None:
    """Opens and locks a file.

    Args:
        path: The file; only the holder of the lock may remove it.
        create: Whether to create it if it does not exist.

    Returns:
        An open handle that holds the lock, None if a living process holds it.

    Raises:
        LocksUnsupportedError: If locks are not supported.
        OSError: If the file cannot be opened.
    """
    if fcntl is None:
        raise LocksUnsupportedError
    flags = os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    while True:
        handle = os.open(path, flags, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, handle):
                return handle
            os.close(handle)  # removed by the previous holder
        except OSError as error:
            os.close(handle)
            if error.errno in _BUSY:
                return None
            raise LocksUnsupportedError from error


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def folder_lock(folder: str | os.PathLike) -> Iterator[None]:
    """Locks a folder against other runs while this one writes to it.

    The folder is created if necessary, and removed if it stays empty. A killed run
    releases the lock.

    Raises:
        CtKerasError: CTK-E071, if a running process holds it; CTK-E073, if the folder
            cannot be created or written to.
    """
    folder = Path(folder)
    path = folder / _LOCK_FILE
    with write_errors(folder):
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = lock_file(path)
        except LocksUnsupportedError:
            handle = -1
    if handle is None:
        raise in_use(label_of(folder))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        if handle >= 0:
            os.close(handle)
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()  # it stayed empty


def in_use(name: str) -> CtKerasError:
    """Returns the error for a folder or file that another run is writing."""
    return CtKerasError(
        "CTK-E071",
        "another run is writing this output",
        received=name,
        fix="wait until it has ended, or choose another output path",
    )
