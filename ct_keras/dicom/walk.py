"""Every file below a folder, in a fixed order, without following links."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ct_keras.dicom.limits import Limits
from ct_keras.errors import CtKerasError
from ct_keras.files import MARKER, TEMPORARY_PREFIX


def list_files(folder: Path, limits: Limits) -> list[Path]:
    """Lists what lies below a folder, or the one file that is given.

    Unfinished output of this package, and its markers, are left out.

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
            received=folder.name,
        ) from error
    return paths


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Yields the entries that are no folders, sorted, without following links."""
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
            yield from _walk(Path(entry.path), depth - 1)
