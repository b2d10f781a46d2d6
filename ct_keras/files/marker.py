"""The file that says what ct_keras wrote into a folder, so that it may be replaced.

``.ct_keras`` lists every file of the folder. To overwrite replaces a folder only if it
was written as the same kind of output and holds nothing that no marker lists: neither
somebody's notes in it nor another kind of result is lost by a wrong path. Folders of
versions that wrote no marker are not replaced.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

MARKER = ".ct_keras"
#: How the names of temporary files and folders begin.
TEMPORARY_PREFIX = ".ctk-tmp-"
_MADE_BY = "ct_keras"


def write_marker(folder: Path, kind: str, files: Iterable[str] | None = None) -> None:
    """Marks a folder as written by ct_keras.

    Args:
        folder: An existing folder.
        kind: What it is, such as "series" or "evaluation".
        files: Which of its files are ours, by their paths in it; None for all. Folders
            in it that have their own markers need not be listed.
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
    """Why a folder is not ct_keras's own to replace; None if it is.

    Args:
        folder: An existing folder.
        kind: What would be put in its place.
        ignored: File names that do not matter.
    """
    found = _read(folder).get("kind")
    if found is None:
        return f"it has no file {MARKER} that says that ct_keras wrote it"
    if found != kind:
        return f"ct_keras wrote it as {found}"
    listed: set[Path] = set()
    strangers = 0
    for path in _files(folder):
        if path.name == MARKER:
            # A folder comes before those in it: what holds a path was read by now.
            listed |= {path.parent / name for name in _read(path.parent)["files"]}
        elif path not in listed and path.name not in ignored:
            strangers += 1
    if strangers:
        return f"it holds files that ct_keras did not write ({strangers})"
    return None


def _files(folder: Path) -> Iterator[Path]:
    """The files and links below a folder, its marker first, temporaries left out."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(TEMPORARY_PREFIX)]
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        names = sorted([*files, *links], key=lambda name: (name != MARKER, name))
        yield from (Path(place, name) for name in names)


def _read(folder: Path) -> dict:
    """The marker of a folder; empty if there is none that ct_keras wrote."""
    try:
        document = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        if document["made_by"] == _MADE_BY:
            return {"kind": str(document["kind"]), "files": list(document["files"])}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"files": []}
