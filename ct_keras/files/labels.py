"""How messages name the files and folders of a user, whose names may be a patient's."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

#: Set to 1, it lets messages show paths.
SHOW_PATHS_VARIABLE = "CT_KERAS_LOG_PATHS"


def label_of(path: str | os.PathLike) -> str:
    """Returns what messages and results call a file or folder: a hash of its path.

    The same path has the same label, in all messages. With `CT_KERAS_LOG_PATHS=1`, as
    `--log-paths` of every command sets it, it is the path itself.
    """
    path = Path(path).absolute()
    if os.environ.get(SHOW_PATHS_VARIABLE) == "1":
        return str(path)
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()
    is_file = path.is_file() or (path.suffix and not path.is_dir())
    return f"{'file' if is_file else 'folder'} {digest[:8]}"


def place_of(path: str | os.PathLike, metavar: str = "OUT") -> str:
    """Returns what a result line calls a folder that the user named: as the help does.

    With `CT_KERAS_LOG_PATHS=1` it is the path itself.

    Example:
        >>> place_of("runs/case 7")
        'OUT'
    """
    return str(path) if os.environ.get(SHOW_PATHS_VARIABLE) == "1" else metavar
