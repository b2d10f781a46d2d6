"""The header values that are kept in memory for each source slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from ct_keras.codecs import decoder_name
from ct_keras.dicom.checks import CT_IMAGE, UNSPECIFIED, rescale_of
from ct_keras.dicom.places import Place
from ct_keras.dicom.values import (
    age_years,
    amount,
    bounded,
    integer,
    number,
    numbers,
    term,
    terms,
    text,
    values,
    within,
)
from ct_keras.errors import Finding
from ct_keras.hu import to_stored
from ct_keras.inputs.archive import Entry

#: What no scanner exceeds, and every pixel does; beyond it a value is as good as
#: missing.
_FARTHEST_MM, _THICKEST_MM, _PIXELS_MM = 1e5, 1e3, (100.0, 1e-3)
_MOST_KV, _MOST_MA, _MOST_MS = 1e3, 1e5, 1e7

#: HU of the stored values of what was floating-point: steps of a quarter HU from -4096
#: to 12287.75 HU, which no tissue and few metals exceed.
FLOAT_SLOPE, FLOAT_INTERCEPT = 0.25, 4096.0
#: The lowest and the highest of these stored values; others are clipped to them.
FLOAT_ENDS = -0x8000, 0x7FFF
_FLOAT_NAMES = {4: "Float", 8: "DoubleFloat"}

#: Manufacturer of ct_keras items in ContributingEquipmentSequence.
EQUIPMENT_NAME = "ct_keras"
#: Begin the ContributionDescription of a denoised series.
DENOISED_MARK = "AI noise reduction"
REDUCED_MARK = "Noise reduction by"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file of CT images and how it is encoded.

    Attributes:
        entry: Where it is.
        number: 1-based number in the scan, as shown in messages.
        version: Size and time of the last change; a file that changes is not read.
        sop_class_uid: Its SOP class.
        frames: Number of images.
        syntax: UID of the transfer syntax.
        lossy_method: LossyImageCompressionMethod of its pixels, None if they lost
            nothing.
        implicit: Whether the VR of the elements is implicit.
        misdeclared: Whether the file meta says something else.
        bare: Whether it begins without preamble; positions count as if it had one.
        header_bytes: Where the pixels begin; in a deflated file, after inflation.
        header_digest: `encoding.digest` of the bytes before them; another file that
            took its place with the same size and time is not read either.
    """

    entry: Entry
    number: int
    version: tuple[int, int]
    sop_class_uid: str
    frames: int
    syntax: str
    lossy_method: str | None
    implicit: bool
    misdeclared: bool
    bare: bool
    header_bytes: int
    header_digest: bytes

    @property
    def path(self) -> Path:
        """The file, or the archive that holds it."""
        return self.entry if isinstance(self.entry, Path) else self.entry.archive

    @property
    def label(self) -> str:
        """Tells it from all other files; for comparison, never printed."""
        inside = "" if self.path is self.entry else f"#{self.entry.label}"
        return f"{self.path}{inside}"

    @property
    def place(self) -> Path:
        """What no output may touch: the folder of the file, or the archive."""
        return self.path.parent if self.path is self.entry else self.path

    @property
    def little_endian(self) -> bool:
        """The byte order."""
        return self.syntax != ExplicitVRBigEndian

    @property
    def multi_frame(self) -> bool:
        """Whether its class keeps images as frames, be it only one."""
        return self.sop_class_uid != CT_IMAGE

    @property
    def deflated(self) -> bool:
        """Whether the data set is deflated as a whole."""
        return self.syntax == DeflatedExplicitVRLittleEndian


@dataclass(frozen=True, slots=True)
class FloatPixels:
    """Floating-point pixels, which are rounded to stored values when they are read.

    Attributes:
        pixel_bytes: Bytes of a pixel.
        slope: RescaleSlope in the file.
        intercept: RescaleIntercept in the file.
    """

    pixel_bytes: int
    slope: float
    intercept: float

    def to_stored(self, pixels: np.ndarray | float) -> np.ndarray:
        """Returns pixels, of any shape, as int16 of the slope and intercept here."""
        hu = np.asarray(pixels, np.float64) * self.slope + self.intercept
        stored = to_stored(hu, FLOAT_SLOPE, FLOAT_INTERCEPT)
        return np.clip(stored, *FLOAT_ENDS).astype(np.int16)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSlice:
    """One CT image: a frame of a file.

    Attributes:
        file: The file.
        frame: 0-based number of the image in the file.
        places: Where its pixels, or the fragments of them, lie in the file.
        stack_key: What distinguishes two images at the same position: acquisition,
            temporal position, echo, stack, ImageType and kVp.
        patient_age_years: From PatientAge; weeks and days are fractions of a year.
        body_part: BodyPartExamined, verbatim; never print it.
        manufacturer: Manufacturer, verbatim; never print it.
        contrast_agent: ContrastBolusAgent, verbatim; never print it.
        bits_stored: Bits of a stored pixel value, 1 to 16.
        signed: Whether stored values are two's complement.
        slope: HU per stored value.
        intercept: HU of the stored value 0.
        unit_known: Whether slope and intercept are those of the file, and RescaleType
            says HU or is absent, which means HU in CT.
        assumed: Whether slope and intercept are not in the file.
        floats: How pixels become stored values that are floating-point in the file.
        padding: Lowest and highest stored value of padding pixels, or None.
    """

    file: SourceFile
    frame: int
    places: tuple[Place, ...]
    sop_instance_uid: str
    series_uid: str
    study_uid: str
    frame_of_reference_uid: str | None
    patient_id: str
    patient_age_years: float | None
    body_part: str | None
    image_type: tuple[str, ...]
    rows: int
    columns: int
    bits_stored: int
    signed: bool
    slope: float
    intercept: float
    unit_known: bool
    assumed: bool
    floats: FloatPixels | None
    padding: tuple[int, int] | None
    position: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, float] | None
    slice_location: float | None
    spacing_tag_mm: float | None
    thickness_mm: float | None
    instance_number: int | None
    stack_key: tuple
    kvp: float | None
    kernel: str | None
    manufacturer: str | None
    contrast_agent: str | None
    tube_current_ma: float | None
    exposure_time_ms: float | None
    monochrome1: bool
    lossy: bool
    lossy_ratio: float | None
    denoised: bool

    @property
    def path(self) -> Path:
        """The file, or the archive that holds it."""
        return self.file.path

    @property
    def number(self) -> int:
        """1-based number of the file in the scan, as shown in messages."""
        return self.file.number

    @property
    def image_key(self) -> str:
        """Identifies the image, to be hashed; never print it."""
        suffix = f"#{self.frame + 1}" if self.file.multi_frame else ""
        return self.sop_instance_uid + suffix

    @property
    def decoder(self) -> str | None:
        """Package and version that decode the pixels, None if they are native."""
        return decoder_name(self.file.syntax)

    @property
    def rescaled(self) -> bool:
        """Whether slope and intercept are others than in the file."""
        return self.assumed or self.floats is not None

    @property
    def misdeclared(self) -> bool:
        """Whether the file is not encoded as its file meta says."""
        return self.file.misdeclared

    @property
    def pixel_bytes(self) -> int:
        """Size of the pixels in memory, in bytes."""
        return self.rows * self.columns * 2

    @property
    def exposure_mas(self) -> float | None:
        """Tube current times exposure time in mAs, None if either is not tagged.

        The Exposure tag is not used: some scanners write another quantity there.
        """
        if not self.tube_current_ma or not self.exposure_time_ms:
            return None
        return self.tube_current_ma * self.exposure_time_ms / 1000


def source_slice(
    dataset: Dataset,
    file: SourceFile,
    places: tuple[Place, ...],
    frame: int = 0,
    float_bytes: int = 0,
) -> SourceSlice:
    """Returns the `SourceSlice` of a header that passed `checks.check_header`.

    Args:
        dataset: The header.
        file: The file.
        places: Where the pixels lie in it.
        frame: 0-based number of the image in the file.
        float_bytes: Bytes of a floating-point pixel, 0 for integers.
    """
    image_type = terms(dataset, "ImageType")
    spacing = within(numbers(dataset, "PixelSpacing", 2), *_PIXELS_MM)
    return SourceSlice(
        file=file,
        frame=frame,
        places=places,
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_uid=str(dataset.SeriesInstanceUID),
        study_uid=str(dataset.StudyInstanceUID),
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID"),
        patient_id=text(dataset, "PatientID") or "",
        patient_age_years=age_years(dataset),
        body_part=text(dataset, "BodyPartExamined"),
        image_type=image_type,
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        position=within(numbers(dataset, "ImagePositionPatient", 3), _FARTHEST_MM),
        orientation=_orientation(dataset),
        pixel_spacing_mm=spacing if spacing and min(spacing) > 0 else None,
        slice_location=bounded(dataset, "SliceLocation", _FARTHEST_MM),
        spacing_tag_mm=bounded(dataset, "SpacingBetweenSlices", _THICKEST_MM),
        thickness_mm=amount(dataset, "SliceThickness", _THICKEST_MM),
        instance_number=integer(dataset, "InstanceNumber"),
        stack_key=(
            integer(dataset, "AcquisitionNumber"),
            integer(dataset, "TemporalPositionIdentifier"),
            text(dataset, "EchoNumbers"),
            text(dataset, "StackID"),
            image_type,
            amount(dataset, "KVP", _MOST_KV),
        ),
        **_values(dataset, float_bytes),
        **_history(dataset),
        **_compression(dataset, file, places),
    )


def _values(dataset: Dataset, float_bytes: int) -> dict:
    """What the stored values mean."""
    found = rescale_of(dataset)
    known = dict(
        unit_known=found is not None
        and term(dataset, "RescaleType") not in UNSPECIFIED,
        assumed=found is None,
    )
    rescale = found or (1.0, 0.0)
    if not float_bytes:
        return known | dict(
            bits_stored=int(dataset.BitsStored),
            signed=int(dataset.PixelRepresentation) == 1,
            slope=rescale[0],
            intercept=rescale[1],
            padding=_padding_range(dataset),
            floats=None,
        )
    floats = FloatPixels(float_bytes, *rescale)
    return known | dict(
        bits_stored=16,
        signed=True,
        slope=FLOAT_SLOPE,
        intercept=FLOAT_INTERCEPT,
        padding=_float_padding_range(dataset, floats),
        floats=floats,
    )


def _compression(dataset: Dataset, file: SourceFile, places: tuple[Place, ...]) -> dict:
    """Whether the image was lossy-compressed, and how much."""
    ratio = number(dataset, "LossyImageCompressionRatio")
    lossy_now = file.lossy_method is not None
    if lossy_now and ratio is None:
        pixels = int(dataset.Rows) * int(dataset.Columns) * 2
        ratio = round(pixels / max(1, sum(length for _, length in places)), 1)
    return dict(lossy=was_lossy(dataset) or lossy_now, lossy_ratio=ratio)


def _history(dataset: Dataset) -> dict:
    """Acquisition and processing history of the image."""
    return dict(
        kvp=amount(dataset, "KVP", _MOST_KV),
        kernel=text(dataset, "ConvolutionKernel"),
        manufacturer=text(dataset, "Manufacturer"),
        contrast_agent=text(dataset, "ContrastBolusAgent"),
        tube_current_ma=amount(dataset, "XRayTubeCurrent", _MOST_MA),
        exposure_time_ms=amount(dataset, "ExposureTime", _MOST_MS),
        monochrome1=term(dataset, "PhotometricInterpretation") == "MONOCHROME1",
        denoised=_was_denoised(dataset),
    )


def was_lossy(dataset: Dataset) -> bool:
    """Whether LossyImageCompression says so: 01, or a variant that some writers use."""
    return term(dataset, "LossyImageCompression") in ("01", "1", "YES", "Y", "TRUE")


def _orientation(dataset: Dataset) -> tuple[float, ...] | None:
    """Row and column direction, None unless both are near unit length and square."""
    found = numbers(dataset, "ImageOrientationPatient", 6)
    if found is None:
        return None
    row, column = found[:3], found[3:]
    lengths = [sum(v * v for v in direction) for direction in (row, column)]
    dot = sum(a * b for a, b in zip(row, column, strict=True))
    if any(abs(length - 1) > 0.02 for length in lengths) or abs(dot) > 0.02:
        return None
    return found


def _padding_range(dataset: Dataset) -> tuple[int, int] | None:
    """The stored values of padding, for a signed or unsigned VR."""
    value = integer(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = integer(dataset, "PixelPaddingRangeLimit")
    signed = int(dataset.PixelRepresentation) == 1
    ends = [value, value if limit is None else limit]
    ends = sorted(_as_16_bit(end, signed=signed) for end in ends)
    return ends[0], ends[1]


def _float_padding_range(
    dataset: Dataset, floats: FloatPixels
) -> tuple[int, int] | None:
    """The stored values of what is padding among floating-point pixels."""
    name = _FLOAT_NAMES[floats.pixel_bytes]
    value = number(dataset, f"{name}PixelPaddingValue")
    if value is None:
        return None
    limit = number(dataset, f"{name}PixelPaddingRangeLimit")
    ends = floats.to_stored(np.array([value, value if limit is None else limit]))
    return int(ends.min()), int(ends.max())


def _as_16_bit(value: int, *, signed: bool) -> int:
    value &= 0xFFFF
    return value - 0x10000 if signed and value & 0x8000 else value


def _was_denoised(dataset: Dataset) -> bool:
    for item in values(dataset, "ContributingEquipmentSequence"):
        ours = text(item, "Manufacturer") == EQUIPMENT_NAME
        description = text(item, "ContributionDescription") or ""
        if ours and description.startswith((DENOISED_MARK, REDUCED_MARK)):
            return True
    return False


def source_findings(sources: Sequence[SourceSlice]) -> Iterator[Finding]:
    """Findings from single headers: lossy, derived, MONOCHROME1, no ImageType."""
    lossy = [source for source in sources if source.lossy]
    if lossy:
        ratio = lossy[0].lossy_ratio
        shown = f" (ratio {ratio:g}:1)" if ratio else ""
        yield Finding(
            "CTK-W011",
            f"source was lossy-compressed{shown}; noise statistics are not those of "
            "the scanner",
        )
    if any(source.monochrome1 for source in sources):
        yield Finding("CTK-W045", "MONOCHROME1: display is inverted, HU unaffected")
    if any(source.image_type[:1] == ("DERIVED",) for source in sources):
        yield Finding("CTK-W050", "source images are DERIVED")
    misdeclared = sum(source.misdeclared for source in sources)
    if misdeclared:
        yield Finding(
            "CTK-W007",
            f"{misdeclared} slices are not encoded as their file meta says; read as "
            "they are",
        )
    repeated = len(sources) - len({source.image_key for source in sources})
    if repeated:
        yield Finding(
            "CTK-W007",
            f"{repeated} slices repeat the SOPInstanceUID of another; derived slices "
            "get UIDs of their own",
        )
    yield from _accepted_findings(sources)
    unknown = sum(not (source.unit_known or source.assumed) for source in sources)
    if unknown:
        yield Finding(
            "CTK-W042",
            f"{unknown} slices have an unspecified RescaleType ('US'); taken as HU",
        )
    untyped = sum(not source.image_type for source in sources)
    if untyped:
        yield Finding("CTK-I022", f"{untyped} slices have no ImageType; taken as axial")


def _accepted_findings(sources: Sequence[SourceSlice]) -> Iterator[Finding]:
    """What is refused unless an option accepts it."""
    for count, code, words, option in (
        (
            sum(source.file.bare for source in sources),
            "CTK-W002",
            "{} slices are in files without preamble or file meta",
            "allow_no_preamble",
        ),
        (
            sum(source.assumed for source in sources),
            "CTK-W040",
            "{} slices have no usable RescaleSlope/Intercept; their stored values are "
            "taken as HU",
            "assume_hu",
        ),
        (
            sum(source.floats is not None for source in sources),
            "CTK-W047",
            "the floating-point pixels of {} slices are rounded to steps of "
            f"{FLOAT_SLOPE:g} HU",
            "allow_float",
        ),
    ):
        if count:
            yield Finding(code, words.format(count), option)
