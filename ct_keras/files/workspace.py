"""Hidden temporary folders in which outputs are written, each owned by a process.

A workspace ``.ctk-tmp-*`` is next to its target, or inside it if the target itself
cannot be replaced (a mount point, for example). It holds:

- ``owner``: locked until the process ends; its text is the name of the target, or
  empty if the workspace is inside the target;
- ``new``: the output that is being written;
- ``old``: the previous content, during the replacement;
- ``filling``: exists while entries of ``new`` are moved to the target.

If another process gets the lock of a workspace, its owner has ended: the previous
content is restored, and the rest is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from pathlib import Path

from ct_keras.files.locks import LocksUnsupportedError, in_use, lock_file
from ct_keras.files.marker import TEMPORARY_PREFIX

_OWNER = "owner"


class Workspace:
    """One workspace that this process owns.

    Args:
        path: Its folder.
        handle: The open file that holds the lock; None without locks.
        inside: Whether it is inside its target.
    """

    def __init__(self, path: Path, handle: int | None, *, inside: bool = False):
        self.path = path
        self.inside = inside
        self.new, self.old = path / "new", path / "old"
        self.filling = path / "filling"
        self._handle = handle

    @property
    def target(self) -> Path | None:
        """The path of the result, if the workspace records it."""
        if self.inside:
            return self.path.parent
        try:
            name = os.fsdecode((self.path / _OWNER).read_bytes())
        except OSError:
            return None
        return self.path.parent / name if name else None

    def recover(self) -> None:
        """Completes or reverts what a killed process began; empties the workspace."""
        target = self.target
        if self.filling.exists():
            move_entries(self.new, self.path.parent)
        elif self.old.is_dir() and self.inside:
            move_entries(self.old, self.path.parent)
        elif self.old.is_dir() and target is not None and not os.path.lexists(target):
            os.rename(self.old, target)
        for folder in (self.new, self.old):
            shutil.rmtree(folder, ignore_errors=True)
        self.filling.unlink(missing_ok=True)

    def close(self) -> None:
        """Removes the workspace and releases the lock."""
        with contextlib.suppress(OSError):
            self.recover()
            _remove(self.path)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def open_workspace(
    target: Path, *, inside: bool = False, shared: bool = False
) -> Workspace:
    """Creates the workspace of an output, and recovers those of killed runs.

    Args:
        target: The output path.
        inside: Whether the workspace is inside the target instead of next to it.
        shared: Whether several processes may write the same target; the last one wins.

    Raises:
        CtKerasError: CTK-E071, if a running process writes the same target.
        OSError: If nothing can be written there.
    """
    parent = target if inside else target.parent
    remove_stale(parent)
    name = b"" if inside else os.fsencode(target.name)
    label = secrets.token_hex(8) if shared else _label(name)
    path = parent / f"{TEMPORARY_PREFIX}{label}"
    try:
        handle = _own(path)
    except LocksUnsupportedError:
        path, handle = parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}", -1
        path.mkdir()
    if handle is None:
        raise in_use(target.name)
    workspace = Workspace(path, None if handle < 0 else handle, inside=inside)
    try:
        workspace.recover()
        (path / _OWNER).write_bytes(name)
        workspace.new.mkdir()
    except BaseException:
        workspace.close()
        raise
    return workspace


def _remove(path: Path) -> None:
    """Removes a workspace that contains only its lock file."""
    with contextlib.suppress(OSError):
        (path / _OWNER).unlink(missing_ok=True)
        path.rmdir()


def _label(name: bytes) -> str:
    return hashlib.sha256(b"target:" + name).hexdigest()[:16]


def _own(path: Path) -> int | None:
    """Creates and locks a workspace folder; None if a running process owns it."""
    while True:
        path.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            try:
                return lock_file(path / _OWNER)
            except LocksUnsupportedError:
                _remove(path)
                raise


def remove_stale(folder: str | os.PathLike) -> None:
    """Recovers the workspaces of killed runs in a folder."""
    try:
        with os.scandir(folder) as entries:
            paths = [
                Path(entry.path)
                for entry in entries
                if entry.name.startswith(TEMPORARY_PREFIX)
                and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return
    for path in paths:
        with contextlib.suppress(OSError, LocksUnsupportedError):
            _remove_if_stale(path)


def _remove_if_stale(path: Path) -> None:
    try:
        handle = lock_file(path / _OWNER, create=False)
    except FileNotFoundError:
        path.rmdir()  # empty: killed at the very beginning; anything else is kept
        return
    if handle is not None:
        inside = not (path / _OWNER).read_bytes()
        Workspace(path, handle, inside=inside).close()


def move_entries(source: Path, target: Path) -> None:
    """Moves the entries of a folder to another one on the same file system.

    Raises:
        FileExistsError: If the name exists already.
    """
    for entry in sorted(source.iterdir()):
        goal = target / entry.name
        if os.path.lexists(goal):
            raise FileExistsError(f"{entry.name} already exists")
        os.rename(entry, goal)
