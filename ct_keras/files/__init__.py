"""Files and folders that appear whole or not at all, and never damage anything else.

- `paths`: an output is refused where it could harm an input or another output;
- `marker`: which folders ct_keras wrote, and may replace when it is told to;
- `workspace`: hidden temporary folders that belong to a living process; what a killed
  one left is put back or removed by the next run in the same place;
- `swap`: how a finished folder takes the place of the old one;
- `atomic`: the context managers that put these together;
- `tables`: what is read whatever its encoding.
"""

from __future__ import annotations

from ct_keras.files.atomic import (
    atomic_file,
    atomic_folder,
    sha256_of,
    write_text,
    write_texts,
)
from ct_keras.files.failures import write_errors
from ct_keras.files.locks import folder_lock
from ct_keras.files.marker import MARKER, TEMPORARY_PREFIX, write_marker
from ct_keras.files.paths import (
    check_apart,
    check_output_folder,
    entries_of,
)
from ct_keras.files.tables import read_table
from ct_keras.files.workspace import remove_stale

__all__ = [
    "MARKER",
    "TEMPORARY_PREFIX",
    "atomic_file",
    "atomic_folder",
    "check_apart",
    "check_output_folder",
    "entries_of",
    "folder_lock",
    "read_table",
    "remove_stale",
    "sha256_of",
    "write_errors",
    "write_marker",
    "write_text",
    "write_texts",
]
