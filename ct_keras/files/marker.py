"""The marker file of a folder: what ct_keras wrote and may replace.

``.ct_keras`` lists every file of the folder. Overwriting replaces a folder only if it
is the same kind of output and all its files are listed in a marker, so that a wrong
path cannot delete a user's notes or another kind of result. Folders without a marker
are not replaced.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

MARKER = ".ct_keras"
#: Prefix of the names of temporary files and folders.
TEMPORARY_PREFIX = ".ctk-tmp-"
_MADE_BY = "ct_keras"


def write_marker(folder: Path, kind: str, files: Iterable[str] | None = None) -> None:
    """Marks a folder as written by ct_keras.

    Args:
        folder: An existing folder.
        kind: The kind of output, such as "series" or "evaluation".
        files: The relative paths of the files that ct_keras wrote; None for all.
            Subfolders with their own markers need not be listed.
    """
    from ct_keras import __version__

    if files is None:
        files = [path.relative_to(folder).as_posix() for path in _files(folder)]
    document = {
        "made_by": _MADE_BY,
        "version": __version__,
        "kind": kind,
        "files": sorted(files),
    }
    text = json.dumps(document, indent=1) + "\n"
    (folder / MARKER).write_text(text, encoding="utf-8")


def stranger(folder: Path, kind: str, *, ignored: Collection[str] = ()) -> str | None:
    """Returns why ct_keras must not replace a folder; None if it may.

    Args:
        folder: An existing folder.
        kind: The kind of the new output.
        ignored: File names to ignore.
    """
    found = _read(folder).get("kind")
    if found is None:
        return f"it has no file {MARKER}, so it may not be from ct_keras"
    if found != kind:
        return f"ct_keras wrote it as {found}"
    listed: set[Path] = set()
    strangers = 0
    for path in _files(folder):
        if path.name == MARKER:
            # A folder comes before its subfolders, so its marker was read before.
            listed |= {path.parent / name for name in _read(path.parent)["files"]}
        elif path not in listed and path.name not in ignored:
            strangers += 1
    if strangers:
        return f"it holds files that ct_keras did not write ({strangers})"
    return None


def _files(folder: Path) -> Iterator[Path]:
    """The files and links below a folder, its marker first, without temporary files."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(TEMPORARY_PREFIX)]
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        names = sorted([*files, *links], key=lambda name: (name != MARKER, name))
        own = (name for name in names if not name.startswith(TEMPORARY_PREFIX))
        yield from (Path(place, name) for name in own)


def _read(folder: Path) -> dict:
    """The marker of a folder; empty if there is no valid one."""
    try:
        document = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        if document["made_by"] == _MADE_BY:
            return {"kind": str(document["kind"]), "files": list(document["files"])}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"files": []}
