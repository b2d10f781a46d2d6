"""NumPy arrays in .npy files: HU without geometry."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ct_keras.containers.formats import Content, check_voxels


def read(path: Path) -> Content:
    """Reads (rows, columns) or (slices, rows, columns); never pickled objects."""
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    check_voxels(path, values.shape, values.dtype)
    stored = np.array(values).reshape((-1, *values.shape[-2:]))
    return Content(stored, original=values.shape)


def write(path: Path, content: Content, stored: np.ndarray, derivation: str) -> None:
    """Writes the values in the shape of the original; there is no place for text."""
    del derivation
    with open(path, "wb") as file:
        np.save(file, stored.reshape(content.original), allow_pickle=False)
