"""A CT volume from one file, used like a DICOM series."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import astuple
from pathlib import Path

import numpy as np

from ct_keras.containers import formats
from ct_keras.containers.grey_values import GreyValues, scale_of
from ct_keras.dicom import Series, find_series, read_series
from ct_keras.dicom.pixels import SlicePixels, find_padding, stored_to_hu
from ct_keras.dicom.plausibility import Displacements, check_hu
from ct_keras.errors import CtKerasError, Finding
from ct_keras.inputs.options import DEFAULT_OPTIONS, ReadOptions, accepted_by

#: Ends the name of a JSON file beside a result, which says how it was made.
_SIDECAR = ".ct_keras.json"
#: Nothing is added to what a file says.
_AS_STORED = GreyValues()
_PICTURE = Finding(
    "CTK-I063", "the values are grey values of a picture, not HU, and are treated so"
)


class VolumeFile:
    """The CT volume of one file, in Hounsfield units, or the picture that it holds.

    It has what `Series` has for denoising and comparison. What only a DICOM header
    says is None.

    Args:
        path: The file.
        content: What it holds.
        values: What it does not say.

    Attributes:
        path: The file.
        content: What it holds.
        values: What it does not say.
        slope: HU per stored unit.
        intercept: HU of the stored value 0.
        scale: None for HU; "picture" for grey values, see `ct_keras.hu`.
        spacing_mm: (slice, row, column) in mm; NaN where unknown.
        findings: What the reader noticed.

    Raises:
        CtKerasError: As `scale_of`.
    """

    kernel = kvp = body_part = manufacturer = contrast_agent = None
    slice_thickness_mm = exposure_mas = heights_mm = None
    decoders = ()

    def __init__(
        self,
        path: str | os.PathLike,
        content: formats.Content,
        values: GreyValues = _AS_STORED,
    ):
        self.path = Path(path)
        self.content = content
        self.values = values
        scale = scale_of(content, values)
        self.slope, self.intercept, self.scale = astuple(scale)
        self.spacing_mm = content.spacing_mm
        if values.spacing_mm and np.isnan(content.spacing_mm[1:]).any():
            self.spacing_mm = (content.spacing_mm[0], *values.spacing_mm)
        self.findings: list[Finding] = [_PICTURE] if self.scale else []
        self._displacements = Displacements()

    def __reduce__(self):
        """Travels to another process as its path: the file is read again there."""
        return open_volume_file, (self.path, self.values)

    def __len__(self) -> int:
        return len(self.content.stored)

    def __repr__(self) -> str:
        slices, rows, columns = self.shape
        return f"VolumeFile({slices} slices of {rows}x{columns})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        return self.content.stored.shape

    @property
    def tube_currents_ma(self) -> list[None]:
        """Unknown for each slice."""
        return [None] * len(self)

    @property
    def places(self) -> set[Path]:
        """What must not be written while it is read."""
        return {self.path}

    @property
    def denoised(self) -> bool:
        """Whether ct_keras has denoised it before, by the file or the one beside it."""
        texts = [self.content.derivation or "{}"]
        with contextlib.suppress(OSError, UnicodeDecodeError):
            texts.append(sidecar_of(self.path).read_text(encoding="utf-8"))
        return any(map(_says_denoised, texts))

    @property
    def accepted(self) -> tuple[str, ...]:
        """The options without which it would have been refused."""
        return accepted_by(self.findings)

    @property
    def runs(self) -> list[slice]:
        """All slices: those of a file are evenly spaced."""
        return [slice(0, len(self))]

    def require_volume(self) -> list[Finding]:
        """Nothing to refuse: the slices of a file are evenly spaced."""
        return []

    def read(self, slice_index: int) -> SlicePixels:
        """Reads one slice; see `Series.read`."""
        pixels = self.pixels(slice_index)
        if self.scale is None:
            self._displacements.look(slice_index, pixels)
        return pixels

    def pixels(self, slice_index: int) -> SlicePixels:
        """Reads one slice without looking at its values."""
        stored = np.ascontiguousarray(self.content.stored[slice_index])
        hu = stored_to_hu(stored, self.slope, self.intercept)
        return SlicePixels(stored, hu, find_padding(stored, hu, None), b"")

    read_ahead = read

    def value_findings(self) -> list[Finding]:
        """Returns CTK-W044 if slices read since the last call are displaced in HU."""
        return self._displacements.findings()

    @property
    def hu(self) -> np.ndarray:
        """All slices, float32 (slices, rows, columns) in HU."""
        return np.stack([self.read(index).hu for index in range(len(self))])


def sidecar_of(path: Path) -> Path:
    """The JSON file that says how a result was made."""
    return path.with_name(path.name + _SIDECAR)


def _says_denoised(text: str) -> bool:
    try:
        return json.loads(text)["denoised"] is True
    except (ValueError, KeyError, TypeError):
        return False


def read_volume_file(
    path: str | os.PathLike,
    *,
    options: ReadOptions = DEFAULT_OPTIONS,
    values: GreyValues = _AS_STORED,
    look: bool = True,
) -> VolumeFile:
    """Reads a CT volume from a NIfTI, NRRD, MetaImage, .npy, TIFF or PNG file.

    8-bit PNG and TIFF files are read as pictures, in a scale of their own.

    Args:
        path: The file.
        options: What is accepted: `force_hu` (CTK-E044).
        values: What the file does not say.
        look: Whether its values must look like HU; a single slice may not show it.

    Returns:
        The volume; slices are the planes nearest to axial, or the pages of a TIFF.

    Raises:
        CtKerasError: CTK-E000, two scales; CTK-E003, a damaged file; CTK-E005, one that
            cannot be read; CTK-E040, a 16-bit picture without a scale; CTK-E041, too
            large; CTK-E044, values that are not HU or not finite; CTK-E047, not a
            volume of grey values; CTK-E093, a missing package.
    """
    volume = open_volume_file(Path(path), values)
    stored = volume.content.stored
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise CtKerasError(
            "CTK-E044",
            "voxel values are not Hounsfield units",
            received="values that are not finite",
        )
    if look and volume.scale is None:
        volume.findings += check_hu(volume.read, len(volume), options)
        volume.findings += volume.value_findings()
    return volume


def open_volume_file(path: Path, values: GreyValues) -> VolumeFile:
    """Reads a file without looking at its values; see `read_volume_file`."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise CtKerasError(
            "CTK-E005", "cannot read the volume", received=path.suffix
        ) from error
    return VolumeFile(path, formats.read(path), values)


def read_scan(
    path: str | os.PathLike,
    *,
    series: str | int | None = None,
    options: ReadOptions = DEFAULT_OPTIONS,
    values: GreyValues = _AS_STORED,
) -> Series | VolumeFile:
    """Returns the volume of a file, or the one CT series of a DICOM folder.

    Raises:
        CtKerasError: As `read_volume_file` or `ct_keras.read_series`; CTK-E000, if
            `values` are given for DICOM.
    """
    if formats.is_volume_file(path):
        return read_volume_file(path, options=options, values=values)
    _refuse_values(values)
    return read_series(path, series=series, options=options)


def find_scans(
    path: str | os.PathLike,
    *,
    options: ReadOptions = DEFAULT_OPTIONS,
    values: GreyValues = _AS_STORED,
    progress: bool = False,
) -> list[Series] | list[VolumeFile]:
    """Returns the volume of a file, or every CT series of a DICOM folder.

    Raises:
        CtKerasError: As `read_volume_file` or `ct_keras.find_series`; CTK-E000, if
            `values` are given for DICOM.
    """
    if formats.is_volume_file(path):
        return [read_volume_file(path, options=options, values=values)]
    _refuse_values(values)
    return find_series(path, options=options, progress=progress)


def _refuse_values(values: GreyValues) -> None:
    if values.given:
        raise CtKerasError(
            "CTK-E000",
            "DICOM itself says what its values mean",
            received="slope, intercept, pixel spacing or pictures",
            fix="omit them",
        )
