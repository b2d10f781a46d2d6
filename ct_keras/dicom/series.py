"""A CT series in Hounsfield units."""

from __future__ import annotations

import functools
import io
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from ct_keras.arrays import as_numbers
from ct_keras.dicom.encoding import read_elements
from ct_keras.dicom.geometry import even_runs, heights, require_volume
from ct_keras.dicom.pixels import (
    SlicePixels,
    read_header_bytes,
    read_pixels,
    stored_to_hu,
)
from ct_keras.dicom.plausibility import Displacements
from ct_keras.dicom.sources import (
    FLOAT_ENDS,
    FLOAT_INTERCEPT,
    FLOAT_SLOPE,
    SourceSlice,
)
from ct_keras.dicom.values import quiet_pydicom
from ct_keras.errors import LEFT_OUT, CtKerasError, Finding
from ct_keras.inputs.options import DEFAULT_OPTIONS, ReadOptions, accepted_by

_MOST_READ_AHEAD = 16


class Series:
    """The CT images of one series, sorted feet to head.

    Pixels are read from the files on demand, slice by slice with `read` or all at once
    with `hu`. A series is immutable: `with_hu` returns a new one.

    Attributes:
        sources: One `SourceSlice` for each slice, sorted along row x column.
        spacing_mm: (slice, row, column) in mm; NaN where unknown.
        tilt_degrees: Angle between the stacking direction and the slice normal.
        findings: What the reader noticed.
        options: What the reader accepts.

    Example:
        >>> series = ct_keras.read_series("STUDY")  # doctest: +SKIP
        >>> series.hu.shape, series.spacing_mm  # doctest: +SKIP
        ((51, 512, 512), (5.0, 0.805, 0.805))
    """

    def __init__(
        self,
        sources: Sequence[SourceSlice],
        spacing_mm: tuple[float, float, float],
        *,
        tilt_degrees: float = 0.0,
        findings: Sequence[Finding] = (),
        stack: int = 0,
        options: ReadOptions = DEFAULT_OPTIONS,
    ):
        self.sources = tuple(sources)
        self.spacing_mm = spacing_mm
        self.tilt_degrees = tilt_degrees
        self.findings = list(findings)
        self.options = options
        self._stack = stack
        self._hu: np.ndarray | None = None
        self._replaced = False
        self._read_ahead: dict[int, SlicePixels] = {}
        self._displacements = Displacements()
        self._clipped: dict[int, int] = {}
        self._told_clipped = 0

    def __len__(self) -> int:
        return len(self.sources)

    def __repr__(self) -> str:
        slices, rows, columns = self.shape
        return f"Series({slices} slices of {rows}x{columns})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        first = self.sources[0]
        return len(self.sources), first.rows, first.columns

    @functools.cached_property
    def header(self) -> Dataset:
        """The whole header of the first slice, without pixels."""
        return read_header(self.sources[0])

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID; never print it."""
        return self.sources[0].series_uid

    @property
    def patient_key(self) -> str:
        """PatientID of the first slice that has one, to be hashed; never print it."""
        return next((s.patient_id for s in self.sources if s.patient_id), "")

    @property
    def series_key(self) -> str:
        """Identifies this series, to be hashed; never print it."""
        suffix = f"#{self._stack}" if self._stack else ""
        return self.series_uid + suffix

    @property
    def folder(self) -> Path:
        """The folder of the first slice."""
        return self.sources[0].path.parent

    @property
    def scale(self) -> None:
        """None: the values are HU, and not grey values of a picture."""

    @property
    def kernel(self) -> str | None:
        """ConvolutionKernel of the first slice that has one."""
        return next((s.kernel for s in self.sources if s.kernel), None)

    @property
    def patient_age_years(self) -> float | None:
        """PatientAge of the first slice that has one."""
        ages = (source.patient_age_years for source in self.sources)
        return next((age for age in ages if age is not None), None)

    @property
    def body_part(self) -> str | None:
        """BodyPartExamined of the first slice, verbatim; never print it."""
        return self.sources[0].body_part

    @property
    def manufacturer(self) -> str | None:
        """Manufacturer of the first slice, verbatim; never print it."""
        return self.sources[0].manufacturer

    @property
    def contrast_agent(self) -> str | None:
        """ContrastBolusAgent of the first slice, verbatim; never print it."""
        return self.sources[0].contrast_agent

    @property
    def kvp(self) -> float | None:
        """Tube voltage in kV."""
        return self.sources[0].kvp

    @property
    def slice_thickness_mm(self) -> float | None:
        """SliceThickness in mm."""
        return self.sources[0].thickness_mm

    @property
    def heights_mm(self) -> np.ndarray | None:
        """Height of each slice along the stack, None if unknown."""
        return heights(self.sources)

    @property
    def tube_currents_ma(self) -> list[float | None]:
        """Tube current of each slice in mA, None where it is not tagged."""
        return [source.tube_current_ma for source in self.sources]

    @property
    def tube_current_ma(self) -> float | None:
        """Median tube current over the slices in mA, None where it is not tagged."""
        return _median(source.tube_current_ma for source in self.sources)

    @property
    def exposure_mas(self) -> float | None:
        """Median of tube current times exposure time in mAs, None where not tagged."""
        return _median(source.exposure_mas for source in self.sources)

    @property
    def denoised(self) -> bool:
        """Whether ct_keras has denoised it before."""
        return any(source.denoised for source in self.sources)

    @property
    def lossy(self) -> bool:
        """Whether any image was ever lossy-compressed."""
        return any(source.lossy for source in self.sources)

    @property
    def decoders(self) -> tuple[str, ...]:
        """Packages and versions that decode its pixels; empty for native pixels."""
        names = {source.decoder for source in self.sources}
        return tuple(sorted(name for name in names if name))

    @property
    def places(self) -> set[Path]:
        """What must not be written while it is read: folders, or an archive."""
        return {source.file.place for source in self.sources}

    @property
    def accepted(self) -> tuple[str, ...]:
        """The options without which it would have been refused."""
        return accepted_by(self.findings)

    @property
    def incomplete(self) -> bool:
        """Whether slices were left out because an option accepts that."""
        return any(each.code == LEFT_OUT and each.option for each in self.findings)

    @property
    def runs(self) -> list[slice]:
        """The parts that a 3-D method takes as volumes of their own."""
        whole = [slice(0, len(self))]
        return even_runs(self.sources) if self.options.allow_gaps else whole

    def require_volume(self) -> list[Finding]:
        """Refuses a series that is not a regular volume; see `require_volume`.

        Returns:
            What was accepted; it is among the findings from now on.
        """
        accepted = require_volume(self.sources, self.options)
        self.findings += [each for each in accepted if each not in self.findings]
        return accepted

    def read(self, slice_index: int) -> SlicePixels:
        """Reads one slice.

        Args:
            slice_index: 0 is the slice nearest the feet.

        Returns:
            Stored values, HU (float32, padding included) and padding mask, each of
            shape (rows, columns), and the bytes of the header.

        Raises:
            CtKerasError: CTK-E003 or E005, if the file changed since the scan.
        """
        pixels = self._read_ahead.pop(slice_index, None)
        if pixels is None:
            pixels = read_pixels(self.sources[slice_index])
        self._displacements.look(slice_index, pixels)
        self._look_at_ends(slice_index, pixels)
        if self._replaced:
            return pixels._replace(hu=self._hu[slice_index])
        return pixels

    def read_ahead(self, slice_index: int) -> SlicePixels:
        """Reads a slice and keeps it in memory until `read` is called for it.

        At most 16 slices are kept, so that checks in advance need no second reading of
        the file and little memory.
        """
        pixels = self.read(slice_index)
        if len(self._read_ahead) < _MOST_READ_AHEAD:
            self._read_ahead[slice_index] = pixels
        return pixels

    @property
    def ahead(self) -> Mapping[int, SlicePixels]:
        """The slices that `read_ahead` keeps in memory."""
        return self._read_ahead

    def value_findings(self) -> list[Finding]:
        """Returns what the values of the slices read since the last call show.

        CTK-W044, if slices are displaced in HU; CTK-W072, if floating-point pixels were
        clipped.
        """
        found = self._displacements.findings()
        if len(self._clipped) > self._told_clipped:
            self._told_clipped = len(self._clipped)
            low, high = stored_to_hu(np.array(FLOAT_ENDS), FLOAT_SLOPE, FLOAT_INTERCEPT)
            text = f"{sum(self._clipped.values())} floating-point values of "
            text += f"{len(self._clipped)} slices were clipped to {low:g}..{high:g} HU"
            found.append(Finding("CTK-W072", text))
        return found

    def _look_at_ends(self, slice_index: int, pixels: SlicePixels) -> None:
        """Counts floating-point pixels that no stored value can hold."""
        if self.sources[slice_index].floats is None:
            return
        ends = np.isin(pixels.stored, FLOAT_ENDS) & ~pixels.padding
        if count := int(np.count_nonzero(ends)):
            self._clipped[slice_index] = count

    @property
    def hu(self) -> np.ndarray:
        """All slices, float32 (slices, rows, columns) in HU; cached."""
        if self._hu is None:
            volume = np.empty(self.shape, np.float32)
            for slice_index in range(len(self)):
                volume[slice_index] = self.read(slice_index).hu
            self._hu = volume
        return self._hu

    def with_hu(self, hu: np.ndarray) -> Series:
        """Returns a series of the same slices with other values.

        Args:
            hu: (slices, rows, columns) in HU.

        Raises:
            CtKerasError: CTK-E000, if the shape differs; CTK-E047 as
                `ct_keras.arrays.as_numbers`.
        """
        hu = np.asarray(as_numbers(hu), np.float32)
        if hu.shape != self.shape:
            raise CtKerasError(
                "CTK-E000",
                "the values do not have the shape of the series",
                received=hu.shape,
                expected=self.shape,
            )
        other = Series(
            self.sources,
            self.spacing_mm,
            tilt_degrees=self.tilt_degrees,
            findings=self.findings,
            stack=self._stack,
            options=self.options,
        )
        other._hu = hu
        other._replaced = True
        return other


def read_header(source: SourceSlice, data: bytes | None = None) -> Dataset:
    """Reads the whole header of a slice, without pixels.

    Args:
        source: The slice.
        data: `SlicePixels.header`, if the slice was read before.

    Raises:
        CtKerasError: CTK-E005, if the file can no longer be read.
    """
    if data is None:
        data = read_header_bytes(source)
    try:
        with quiet_pydicom():
            dataset = read_elements(io.BytesIO(data))
            if not source.file.little_endian:
                _swap_words(dataset)
            return dataset
    except Exception as error:  # pydicom raises many types
        raise CtKerasError("CTK-E005", f"cannot read file #{source.number}") from error


def _swap_words(dataset: Dataset) -> None:
    """Turns the words of a big-endian file around, which pydicom keeps as they are."""
    for element in dataset.iterall():
        if element.VR == "OW" and element.value:
            element.value = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()


def _median(values) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
