"""Moves a finished folder into place, atomically where the system supports it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
from pathlib import Path

from ct_keras.errors import CtKerasError
from ct_keras.files.labels import label_of
from ct_keras.files.paths import check_replaceable, entries_of
from ct_keras.files.workspace import Workspace

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM}
_FILLED = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}


def must_stay(target: Path) -> bool:
    """Whether an existing folder cannot be replaced, but can be filled.

    This holds for a mount point, the current folder, a folder whose parent is not
    writable, and one with files of the operating system.
    """
    if not target.is_dir():
        return False
    return (
        _is_mount_point(target)
        or _is_current(target)
        or not os.access(target.parent, os.W_OK | os.X_OK)
        or (not entries_of(target) and any(True for _ in target.iterdir()))
    )


def _is_current(folder: Path) -> bool:
    try:
        return os.path.samefile(folder, os.curdir)
    except OSError:  # the current folder was removed
        return False


def _is_mount_point(folder: Path) -> bool:
    """Also for bind mounts of the same device, which only the mount table shows."""
    if os.path.ismount(folder):
        return True
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return False
    name = b"".join(
        b"\\%03o" % byte if byte in b" \t\n\\" else bytes([byte])
        for byte in os.fsencode(folder.resolve())
    )
    return any(line.split()[4] == name for line in lines)


def swap_in(workspace: Workspace, target: Path, kind: str, *, overwrite: bool) -> None:
    """Replaces `target` with the content of a workspace.

    The target is checked again: only an empty folder is replaced, or, with `overwrite`,
    one of the same kind that ct_keras wrote.

    Raises:
        CtKerasError: CTK-E071, if the target has other content by now.
        OSError: If it fails; the previous content is restored.
    """
    if workspace.inside:
        _fill(workspace, target, kind, overwrite=overwrite)
    elif overwrite and target.is_dir() and entries_of(target):
        _replace(workspace, target, kind)
    else:
        _take_place(workspace.new, target)


def _take_place(new: Path, target: Path) -> None:
    """Renames to a free name or an empty folder; the system refuses anything else."""
    try:
        if os.name == "nt" and target.is_dir():
            target.rmdir()
        os.rename(new, target)
    except OSError as error:
        if error.errno not in _FILLED:
            raise
        raise _filled_meanwhile(target) from error


def _replace(workspace: Workspace, target: Path, kind: str) -> None:
    if exchange(workspace.new, target):
        try:
            check_replaceable(workspace.new, kind, overwrite=True, name=target.name)
        except CtKerasError:
            exchange(workspace.new, target)
            raise
        return
    os.rename(target, workspace.old)
    try:
        check_replaceable(workspace.old, kind, overwrite=True, name=target.name)
        os.rename(workspace.new, target)
    except BaseException:
        os.rename(workspace.old, target)
        raise


def _fill(workspace: Workspace, target: Path, kind: str, *, overwrite: bool) -> None:
    """Moves the entries, for a folder that cannot be replaced; almost atomic."""
    check_replaceable(target, kind, overwrite=overwrite)
    with contextlib.ExitStack() as undo:
        workspace.old.mkdir()
        for entry in entries_of(target):
            _move(entry, workspace.old / entry.name, undo)
        workspace.filling.touch()
        undo.callback(workspace.filling.unlink)
        for entry in sorted(workspace.new.iterdir()):
            if os.path.lexists(target / entry.name):
                raise _filled_meanwhile(target)
            _move(entry, target / entry.name, undo)
        undo.pop_all()
    shutil.rmtree(workspace.old, ignore_errors=True)
    workspace.filling.unlink()


def _move(source: Path, goal: Path, undo: contextlib.ExitStack) -> None:
    os.rename(source, goal)
    undo.callback(os.rename, goal, source)


def _filled_meanwhile(target: Path) -> CtKerasError:
    return CtKerasError(
        "CTK-E071",
        "the output folder was changed while the output was written",
        received=label_of(target),
        fix="choose another folder",
    )


def exchange(first: Path, second: Path) -> bool:
    """Swaps two folders atomically; returns False if the system cannot."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    names = os.fsencode(first), os.fsencode(second)
    if call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number))
