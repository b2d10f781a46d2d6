"""The files of a folder: lists them, and notices when they change."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ct_keras.errors import CtKerasError, Finding
from ct_keras.files import MARKER, TEMPORARY_PREFIX
from ct_keras.files.labels import label_of
from ct_keras.inputs.archive import is_archive
from ct_keras.inputs.options import DEFAULT_LIMITS, Limits

#: The file that lists the files of a medium; these are looked at themselves.
_DIRECTORY_NAME = "DICOMDIR"
#: Two looks so far apart must agree before a folder counts as complete.
PAUSE_S = 2.0
_LONGEST_WAIT_S = 3600.0


def stands_for_folder(path: Path) -> bool:
    """Whether a file is read as a folder: a zip archive, or a medium's DICOMDIR."""
    return path.is_file() and (is_archive(path) or _is_directory(path))


def folder_of(path: Path) -> Path:
    """Returns the folder of a DICOMDIR, and any other path as it is."""
    return path.parent if path.is_file() and _is_directory(path) else path


def _is_directory(path: Path) -> bool:
    return path.name.upper() == _DIRECTORY_NAME


def list_files(folder: Path, limits: Limits) -> list[Path]:
    """Lists the files below a folder, or the given file.

    Unfinished output of ct_keras and its marker files are left out. A folder below it
    that cannot be read stands in the list as such.

    Raises:
        CtKerasError: CTK-E005, if the folder cannot be read; CTK-E006, too many files
            or folders nested too deep.
    """
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            return [folder]
        paths = []
        for path in _walk(folder, limits.max_depth):
            if len(paths) >= limits.max_files:
                raise CtKerasError(
                    "CTK-E006",
                    f"more than {limits.max_files:,} files".replace(",", " "),
                    fix="choose a smaller folder",
                )
            paths.append(path)
    except OSError as error:
        raise CtKerasError(
            "CTK-E005",
            f"cannot read the input folder: {error.strerror}",
            received=label_of(folder),
        ) from error
    return paths


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Yields the entries that are not folders, sorted, without following links."""
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        if entry.name == MARKER:
            continue
        if not entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)
        elif not entry.name.startswith(TEMPORARY_PREFIX):
            if depth < 1:
                raise CtKerasError(
                    "CTK-E006", "folders are nested too deep", fix="choose a subfolder"
                )
            try:
                yield from _walk(Path(entry.path), depth - 1)
            except OSError:
                yield Path(entry.path)


class FolderWatch:
    """Notices whether a folder changes while it is worked on.

    Args:
        folder: A folder, or one file.
        limits: Bounds of what is looked at.
    """

    def __init__(self, folder: Path, limits: Limits = DEFAULT_LIMITS):
        self._folder = folder
        self._limits = limits
        self._known = self._look()

    def changes(self) -> list[Finding]:
        """Looks again; returns CTK-W004 if files came, went or grew since the last."""
        before, self._known = self._known, self._look()
        if before == self._known:
            return []
        changed = sum(
            before[path] != self._known[path] for path in before.keys() & self._known
        )
        text = f"folder is still changing: {len(before)} then {len(self._known)} files"
        return [
            Finding("CTK-W004", text + f", {changed} with another size" * (changed > 0))
        ]

    def _look(self) -> dict[Path, int]:
        """The size of every file; empty where the folder cannot be read."""
        sizes = {}
        try:
            for path in list_files(self._folder, self._limits):
                sizes[path] = path.lstat().st_size
        except (CtKerasError, OSError):  # whoever reads it tells why
            return sizes
        return sizes


def wait_until_stable(
    folder: Path,
    *,
    tell: Callable[[Finding], None] = lambda finding: None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Waits until two looks at a folder, two seconds apart, agree.

    Args:
        folder: A folder, or one file.
        tell: Called with CTK-W004 whenever they do not.
        sleep: Waits for so many seconds.

    Raises:
        CtKerasError: CTK-E004, if the folder changes for more than an hour.
    """
    watch = FolderWatch(folder)
    for _ in range(int(_LONGEST_WAIT_S / PAUSE_S)):
        sleep(PAUSE_S)
        changes = watch.changes()
        if not changes:
            return
        for finding in changes:
            tell(finding)
    raise CtKerasError(
        "CTK-E004",
        "folder is still changing after an hour",
        fix="start again when the transfer has ended",
    )
