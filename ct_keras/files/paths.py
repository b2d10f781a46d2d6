"""Checks output paths before anything is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ct_keras.errors import CtKerasError
from ct_keras.files.labels import label_of
from ct_keras.files.marker import TEMPORARY_PREFIX, stranger

#: Files that operating systems create by themselves; they are ignored.
_CLUTTER = {".DS_Store", "Thumbs.db", "desktop.ini", "lost+found"}
_FIX = "choose another folder, or replace this one with overwrite=True (--overwrite)"


def entries_of(folder: Path) -> list[Path]:
    """The entries of a folder, without temporary and system files."""
    return sorted(
        entry
        for entry in folder.iterdir()
        if not entry.name.startswith(TEMPORARY_PREFIX) and entry.name not in _CLUTTER
    )


def check_apart(
    outputs: Iterable[tuple[str, str | os.PathLike]],
    inputs: Iterable[tuple[str, str | os.PathLike]] = (),
) -> None:
    """Refuses outputs that are inside, or contain, an input or another output.

    Links are followed, and different names of one folder (mounted twice, or in
    different letter case) are treated as the same.

    Args:
        outputs: The outputs: label and path.
        inputs: The inputs: label and path; missing ones are ignored.

    Raises:
        CtKerasError: CTK-E071.
    """
    outputs = list(outputs)
    existing = [place for place in inputs if Path(place[1]).exists()]
    for index, (name, path) in enumerate(outputs):
        for other, known in [
            *((f"the input {label}", place) for label, place in existing),
            *((f"the output {label}", place) for label, place in outputs[:index]),
        ]:
            if relation := _relation(Path(path), Path(known)):
                raise CtKerasError(
                    "CTK-E071",
                    f"the output {name} {relation} {other}",
                    received=label_of(path),
                    fix="choose a folder elsewhere",
                )


def _relation(output: Path, other: Path) -> str | None:
    """How two paths overlap, in words; None if they do not."""
    inside, around = _holds(other, output), _holds(output, other)
    if inside and around:
        return "is the same as"
    if inside:
        return "lies inside"
    return "holds" if around else None


def _holds(folder: Path, path: Path) -> bool:
    """Whether a path is the folder or inside it, under any name."""
    folder, path = folder.resolve(), path.resolve()
    if path.is_relative_to(folder):
        return True
    known = _identity(folder)
    return known is not None and any(known == each for each in _identities(path))


def _identities(path: Path) -> Iterator[tuple[int, int] | None]:
    for part in (path, *path.parents):
        if (identity := _identity(part)) is not None:
            yield identity


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def check_output_folder(
    path: str | os.PathLike,
    *,
    inputs: Iterable[str | os.PathLike] = (),
    overwrite: bool = False,
    kind: str = "folder",
    resumable: bool = False,
    fix: str = _FIX,
) -> Path:
    """Refuses an output folder that could damage other data.

    Args:
        path: The output folder.
        inputs: The inputs; the output must be neither inside nor around them.
        overwrite: Whether to replace a folder of this kind that ct_keras wrote.
        kind: The kind of output; see `ct_keras.files.marker`.
        resumable: Whether it may have content, which the caller checks.
        fix: The advice if it has content and `overwrite` is false.

    Returns:
        The path, absolute.

    Raises:
        CtKerasError: CTK-E071, if it is a file, overlaps an input, or has content (with
            `overwrite`: content that ct_keras did not write); CTK-E073, without write
            permission.
    """
    path = Path(path).absolute()
    check_apart([("folder", path)], [("folder", source) for source in inputs])
    _check_writable(path)
    if path.is_dir():
        if not resumable:
            check_replaceable(path, kind, overwrite=overwrite, fix=fix)
    elif path.exists():
        raise CtKerasError(
            "CTK-E071",
            "the output path is a file",
            received=label_of(path),
            expected="a new or empty folder",
        )
    return path


def _check_writable(path: Path) -> None:
    """Refuses an output path without write permission early."""
    there = path.resolve()
    while not os.path.lexists(there):
        there = there.parent
    if there.is_dir():
        places = [there] if there != path.resolve() else [there, there.parent]
        if any(os.access(place, os.W_OK | os.X_OK) for place in places):
            return
        raise CtKerasError(
            "CTK-E073",
            "cannot write: permission denied",
            received=label_of(path),
            fix="choose an output path with write permission",
        )
    if there != path.resolve():
        raise CtKerasError(
            "CTK-E071",
            "a parent of the output path is a file",
            received=label_of(path),
            fix="choose a folder elsewhere",
        )


def check_replaceable(
    folder: Path,
    kind: str,
    *,
    overwrite: bool,
    name: str | None = None,
    fix: str = _FIX,
) -> None:
    """Refuses a folder with content that must not be replaced.

    Raises:
        CtKerasError: CTK-E071.
    """
    if not entries_of(folder):
        return
    if not overwrite:
        raise CtKerasError(
            "CTK-E071",
            "the output folder is not empty",
            received=name or label_of(folder),
            expected="a new or empty folder",
            fix=fix,
        )
    if problem := stranger(folder, kind, ignored=_CLUTTER):
        raise CtKerasError(
            "CTK-E071",
            f"the output folder cannot be replaced: {problem}",
            received=name or label_of(folder),
            expected=f"an empty folder, or one that ct_keras wrote as {kind}",
            fix="choose another folder, or move or remove the files yourself",
        )
