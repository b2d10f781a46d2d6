"""Patients and test objects whose every voxel is known."""

from ct_keras.phantoms.phantom import (
    LABELS,
    REGIONS,
    Lesion,
    Phantom,
    make_phantom,
    phantom_scanner,
    write_phantom,
)

__all__ = [
    "LABELS",
    "Lesion",
    "Phantom",
    "REGIONS",
    "make_phantom",
    "phantom_scanner",
    "write_phantom",
]
