"""Atomic writing of files and folders, without damage to other data.

- `paths`: refuses outputs that could damage an input or another output;
- `marker`: records which folders ct_keras wrote and may replace with `overwrite`;
- `workspace`: hidden temporary folders, each owned by a process; those of killed
  processes are recovered by the next run in the same folder;
- `swap`: replaces an old folder with a finished one;
- `atomic`: the context managers that combine these;
- `documents`: reads JSON of any make and checks its shape;
- `labels`: names files and folders in messages;
- `tables`: reads CSV files in several encodings.
"""

from __future__ import annotations

from ct_keras.files.atomic import (
    atomic_file,
    atomic_folder,
    only_writer,
    sha256_of,
    sync,
    write_text,
    write_texts,
)
from ct_keras.files.documents import has_shape, is_plain_name, read_document
from ct_keras.files.failures import write_errors
from ct_keras.files.labels import label_of
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
    "has_shape",
    "is_plain_name",
    "label_of",
    "only_writer",
    "read_document",
    "read_table",
    "remove_stale",
    "sha256_of",
    "sync",
    "write_errors",
    "write_marker",
    "write_text",
    "write_texts",
]
