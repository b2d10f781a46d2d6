"""Hidden folders in which an output is made, each owned by a living process.

A workspace ``.ctk-tmp-*`` lies beside its target, or in it where the target itself must
stay (a mount point, for example). It holds:

- ``owner``: locked as long as the process lives; its text is the name of the target,
  nothing if the workspace lies in the target;
- ``new``: what is being made;
- ``old``: what was there before, for the moment in which one takes the other's place;
- ``filling``: there from the moment in which entries of ``new`` go into the target.

Whoever gets the lock of a workspace may be sure that its owner is gone: what was there
before is put back, and the rest is removed.
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
        handle: What holds the lock; None where there are no locks.
        inside: Whether it lies in its target.
    """

    def __init__(self, path: Path, handle: int | None, *, inside: bool = False):
        self.path = path
        self.inside = inside
        self.new, self.old = path / "new", path / "old"
        self.filling = path / "filling"
        self._handle = handle

    @property
    def target(self) -> Path | None:
        """Where the result goes, as far as the workspace knows."""
        if self.inside:
            return self.path.parent
        try:
            name = os.fsdecode((self.path / _OWNER).read_bytes())
        except OSError:
            return None
        return self.path.parent / name if name else None

    def recover(self) -> None:
        """Finishes what a killed process left half done, and empties the workspace."""
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
        """Removes the workspace, and gives the lock back."""
        with contextlib.suppress(OSError):
            self.recover()
            _remove(self.path)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def open_workspace(
    target: Path, *, inside: bool = False, shared: bool = False
) -> Workspace:
    """Makes the workspace of an output; finishes what killed runs left there.

    Args:
        target: What will be made.
        inside: Whether the workspace lies in the target instead of beside it.
        shared: Whether several may make the same target at once; the last one stays.

    Raises:
        CtKerasError: CTK-E071, if a living process makes the same target.
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
    """Removes a workspace that holds nothing but its owner's lock."""
    with contextlib.suppress(OSError):
        (path / _OWNER).unlink(missing_ok=True)
        path.rmdir()


def _label(name: bytes) -> str:
    return hashlib.sha256(b"target:" + name).hexdigest()[:16]


def _own(path: Path) -> int | None:
    """Makes a workspace's folder and locks it; None if a living process has it."""
    while True:
        path.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            try:
                return lock_file(path / _OWNER)
            except LocksUnsupportedError:
                _remove(path)
                raise


def remove_stale(folder: str | os.PathLike) -> None:
    """Finishes what killed runs left in a folder; what a live process uses stays."""
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
        path.rmdir()  # empty: killed at its very beginning. Anything else stays.
        return
    if handle is not None:
        inside = not (path / _OWNER).read_bytes()
        Workspace(path, handle, inside=inside).close()


def move_entries(source: Path, target: Path) -> None:
    """Moves what lies in a folder into another of the same file system.

    Raises:
        FileExistsError: If there is something of the same name.
    """
    for entry in sorted(source.iterdir()):
        goal = target / entry.name
        if os.path.lexists(goal):
            raise FileExistsError(f"{entry.name} already exists")
        os.rename(entry, goal)
