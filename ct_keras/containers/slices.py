"""Slices of files, as conversions list them: small, and read where they are needed."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ct_keras.containers.formats import format_of, is_volume_file
from ct_keras.containers.grey_values import GreyValues
from ct_keras.containers.volume import VolumeFile, open_volume_file
from ct_keras.dicom.pixels import SlicePixels
from ct_keras.errors import CtKerasError


@dataclass(frozen=True)
class VolumePlace:
    """Where a volume lies, for whoever reads it later, maybe in another process.

    Attributes:
        path: The file.
        values: What it does not say.
    """

    path: Path
    values: GreyValues

    def open(self) -> VolumeFile:
        """Reads the file."""
        return open_volume_file(self.path, self.values)


@dataclass(frozen=True)
class VolumeSlice:
    """One slice of a file.

    Attributes:
        place: The file.
        slice_index: Number of the slice, from 0.
        image_key: Identifies the slice in hashes.
        rows: Rows.
        columns: Columns.
        slope: HU per stored unit; 0 if values are not whole numbers.
        intercept: HU of the stored value 0.
        denoised: Whether ct_keras has denoised the file.
    """

    place: VolumePlace
    slice_index: int
    image_key: str
    rows: int
    columns: int
    slope: float
    intercept: float
    denoised: bool

    @property
    def path(self) -> Path:
        """The file."""
        return self.place.path

    def read(self) -> SlicePixels:
        """Reads the slice; the file stays open for the next slices.

        Raises:
            CtKerasError: As `ct_keras.containers.read_volume_file`.
        """
        status = os.stat(self.path)
        volume = _opened(self.place, (status.st_mtime_ns, status.st_size))
        return volume.pixels(self.slice_index)


@functools.lru_cache(maxsize=2)  # the low and the full dose
def _opened(place: VolumePlace, version: tuple[int, int]) -> VolumeFile:
    del version  # a file that has changed is read again
    return place.open()


def slices_of(volume: VolumeFile, name: str) -> tuple[VolumeSlice, ...]:
    """Lists the slices of a volume.

    Args:
        volume: The volume.
        name: Identifies it in hashes.
    """
    slices, rows, columns = volume.shape
    whole = volume.content.stored.dtype.kind in "iu"
    return tuple(
        VolumeSlice(
            VolumePlace(volume.path, volume.values),
            index,
            f"{name}#{index}" if slices > 1 else name,
            rows,
            columns,
            volume.slope if whole else 0.0,
            volume.intercept,
            volume.denoised,
        )
        for index in range(slices)
    )


def find_volume_files(folder: str | os.PathLike) -> dict[str, Path]:
    """Finds the files of known formats below a folder.

    Returns:
        The path of each below the folder, without its suffix -> the file, by name.

    Raises:
        CtKerasError: CTK-E030, if two names differ only in their suffix.
    """
    folder, found = Path(folder), {}
    for path in sorted(folder.rglob("*")):
        if not (is_volume_file(path) and path.is_file()):
            continue
        name = name_of(path, folder)
        if found.setdefault(name, path) != path:
            raise CtKerasError(
                "CTK-E030",
                "two files in one folder differ only in their suffix",
                received=f"{format_of(path)} and {format_of(found[name])}",
                expected="one file per name",
            )
    return found


def name_of(path: Path, folder: Path) -> str:
    """The path below a folder, without the suffix of a known format."""
    return path.relative_to(folder).as_posix()[: -len(format_of(path))]


def pixel_spacing_of(volume: VolumeFile) -> tuple[float, float] | None:
    """Returns row and column spacing in mm, None if unknown."""
    spacing_mm = volume.spacing_mm[1:]
    return None if np.isnan(spacing_mm).any() else spacing_mm
