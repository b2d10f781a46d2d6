"""The formats: what is read from a file, and how it is written back."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ct_keras.errors import CtKerasError

#: Suffix -> module with `read` and `write`.
_MODULES = {
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".nrrd": "itk",
    ".mha": "itk",
    ".npy": "numpy_array",
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
}
SUFFIXES = tuple(_MODULES)
#: Largest voxel data of one file, as for a DICOM series.
MAX_BYTES = 8 * 2**30
#: Largest size of the voxels over that of the file, for more than a few MiB.
MAX_EXPANSION = 200
_HARMLESS_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        stored: (slices, rows, columns) as in the file; the slices are the planes
            nearest to axial, whatever the order of the axes in the file.
        slope: HU per stored unit, as the file says; 1 if it does not.
        intercept: HU of the stored value 0, likewise 0.
        scaled: Whether stored values have a meaning: HU, by slope and intercept. Those
            of a picture do not.
        spacing_mm: (slice, row, column) in mm; NaN where unknown.
        placement: Numbers that say where the voxels lie; empty where unknown.
        derivation: What ct_keras wrote into the file, as text; None if it did not.
        original: What the module needs to write the format again.
    """

    stored: np.ndarray
    slope: float = 1.0
    intercept: float = 0.0
    scaled: bool = True
    spacing_mm: tuple[float, float, float] = (np.nan, np.nan, np.nan)
    placement: tuple[float, ...] = ()
    derivation: str | None = None
    original: Any = None

    def lies_like(self, other: Content) -> bool:
        """Whether the voxels of both lie at the same places."""
        places = self.placement, other.placement
        same = len(places[0]) == len(places[1])
        return same and np.allclose(*places, rtol=1e-4, atol=1e-3)


def format_of(path: str | os.PathLike) -> str | None:
    """Returns the suffix of a known format, None for any other path.

    Example:
        >>> format_of("scan.nii.gz"), format_of("STUDY")
        ('.nii.gz', None)
    """
    name = Path(path).name.lower()
    found = [suffix for suffix in SUFFIXES if name.endswith(suffix)]
    return max(found, key=len) if found else None


def is_volume_file(path: str | os.PathLike) -> bool:
    """Whether a path is that of a file in a known format, not of a folder."""
    return format_of(path) is not None and not Path(path).is_dir()


def read(path: Path) -> Content:
    """Reads a file.

    Raises:
        CtKerasError: CTK-E003, if it is damaged, also if voxels have no place that is a
            number; CTK-E005, if it cannot be read; CTK-E041, more than 8 GiB;
            CTK-E047, voxels that are not single numbers; CTK-E093, if a package for the
            format is not installed.
    """
    module = _module(path)
    try:
        content = module.read(path)
        if not np.isfinite(content.placement).all():
            raise ValueError("the place of the voxels is not a number")
        return content
    except CtKerasError:
        raise
    except Exception as error:  # the libraries raise many types for damaged files
        raise CtKerasError(
            "CTK-E003",
            f"the {format_of(path)} file is damaged, or not of that format",
            received=type(error).__name__,
            fix="write or copy it again",
        ) from error


def write(path: Path, content: Content, stored: np.ndarray, derivation: str) -> None:
    """Writes a file like another one, with other values.

    Args:
        path: The new file; its suffix is that of the format.
        content: Of the other file.
        stored: Of the shape and type of `content.stored`.
        derivation: One line of JSON that the file keeps.
    """
    _module(path).write(path, content, stored, derivation)


def axial_order(directions: np.ndarray) -> tuple[int, ...]:
    """Returns the axes of a file in the order slices, rows, columns.

    Args:
        directions: (3, 3), the direction of each axis of the file as a column, in
            patient coordinates (x, y, z).

    Returns:
        The axis nearest to z, then the one nearest to y, then the third. Of equal ones
        the last of the file comes first.
    """
    left = [2, 1, 0]
    order = []
    for world in (2, 1):
        best = max(left, key=lambda axis: round(abs(directions[world, axis]), 6))
        order.append(best)
        left.remove(best)
    return (*order, *left)


def check_voxels(
    path: Path, shape: Sequence[int], dtype: np.dtype, *, samples: int = 1
) -> None:
    """Refuses what is not one volume of plain numbers, before it takes memory.

    Args:
        path: The file.
        shape: Of the array in the file, without trailing axes of length 1.
        dtype: Of its values.
        samples: Values of a pixel: more than one in a colour picture.

    Raises:
        CtKerasError: CTK-E041, E047.
    """
    if len(shape) not in (2, 3) or 0 in shape or np.dtype(dtype).kind not in "iuf":
        raise CtKerasError(
            "CTK-E047",
            "the file does not hold one volume of grey values",
            received=f"{'x'.join(map(str, shape))} of {np.dtype(dtype)}",
            expected="slices x rows x columns, integers or floating point",
        )
    needed = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize * samples
    if needed > MAX_BYTES:
        raise CtKerasError(
            "CTK-E041",
            f"the file needs {needed / 2**30:.1f} GiB of memory",
            expected=f"at most {MAX_BYTES / 2**30:g} GiB",
        )
    held = path.stat().st_size
    if needed > max(_HARMLESS_BYTES, MAX_EXPANSION * held):
        raise CtKerasError(
            "CTK-E041",
            f"a file of {held} bytes cannot hold a volume of {needed}",
            fix="copy it again from its source",
        )


def one_channel(values: np.ndarray) -> np.ndarray:
    """Returns the grey values of a picture, (rows, columns).

    Args:
        values: (rows, columns), or (rows, columns, channels) of equal channels, as many
            programs store grey pictures.

    Raises:
        CtKerasError: CTK-E047, for colours or transparency.
    """
    if values.ndim == 2:
        return values
    grey = values[..., 0]
    if values.shape[2] == 3 and (values == grey[..., None]).all():
        return grey
    raise CtKerasError(
        "CTK-E047",
        "the picture has colours or transparency",
        received=f"{values.shape[2]} channels that differ",
        expected="grey values",
    )


def _module(path: Path):
    return importlib.import_module(f"ct_keras.containers.{_MODULES[format_of(path)]}")
