"""Synthetic patients and test objects whose voxels are known exactly."""

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
