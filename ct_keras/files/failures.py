"""The reason of a failed write, and failures that are not failed writes."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ct_keras.errors import CtKerasError
from ct_keras.files.labels import label_of

#: Error number of a full file system -> the reason in words.
_FULL = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "quota reached",
    errno.EFBIG: "file larger than the system allows",
}
#: With less room, in bytes, a file system has no block left.
_LEAST_ROOM = 4096
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def is_of_content(error: OSError) -> bool:
    """Whether an error of reading is due to what a file holds, and not to the disk.

    Libraries seek to places before the beginning if a damaged file says so, and raise
    errors of their own, without a number.
    """
    return error.errno in (None, errno.EINVAL)


def full_reason(error: BaseException | None) -> str | None:
    """Returns the reason if a full disk caused an error, otherwise None.

    Libraries wrap the system's error or keep only its text, so causes and texts are
    searched too.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        number = getattr(error, "errno", None)
        if number in _FULL:
            return _FULL[number]
        for number, reason in _FULL.items():
            if os.strerror(number) in str(error):
                return reason
        error = error.__cause__ or error.__context__
    return None


def cannot_write(target: Path, error: BaseException) -> CtKerasError:
    """Returns the error for a failed write: CTK-E073."""
    reason = full_reason(error)
    fix = "free space or choose another output path"
    if reason is None:
        reason = getattr(error, "strerror", None) or _no_room(target)
        reason = reason or "unknown reason"
        if getattr(error, "errno", None) in _FORBIDDEN:
            fix = "choose an output path with write permission"
    return CtKerasError(
        "CTK-E073", f"cannot write: {reason}", received=label_of(target), fix=fix
    )


def _no_room(target: Path) -> str | None:
    """The reason if nothing can be written there: some libraries do not tell."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage(target.parent).free < _LEAST_ROOM:
            return _FULL[errno.ENOSPC]
    return None


@contextlib.contextmanager
def write_errors(target: str | os.PathLike) -> Iterator[None]:
    """Turns a failed write into CTK-E073 with the reason.

    Only for code that writes but does not read; see `read_write_errors`.

    Args:
        target: What was being written; only its name is printed.

    Raises:
        CtKerasError: CTK-E073, disk full or permission denied.
    """
    try:
        yield
    except OSError as error:
        raise cannot_write(Path(target), error) from error


@contextlib.contextmanager
def read_write_errors(target: Path, temporary: Path) -> Iterator[None]:
    """Distinguishes failed writes from failed reads in code that does both.

    Args:
        target: What is being written.
        temporary: The temporary path that it is written to.

    Raises:
        CtKerasError: CTK-E073, if the disk is full or a path below `temporary` failed;
            CTK-E005, if another file failed. Other errors are passed on.
    """
    try:
        yield
    except Exception as error:
        if full_reason(error) is not None:
            raise cannot_write(target, error) from error
        name = getattr(error, "filename", None)
        if not (isinstance(error, OSError) and isinstance(name, str | bytes | Path)):
            raise
        failed = Path(os.fsdecode(name))
        if failed.is_relative_to(temporary):
            raise cannot_write(target, error) from error
        raise CtKerasError(
            "CTK-E005",
            f"a file cannot be read: {error.strerror or 'unknown reason'}",
            received=label_of(failed),
            fix="check that it exists and that you have read permission",
        ) from error
