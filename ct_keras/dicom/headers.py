"""Scans one file: whether it is a CT image, and its header.

Cheap checks come first: kind of file, magic, file meta, then the header up to the
pixels. Any content gives a `ScannedFile`; exceptions of pydicom never escape.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass, replace
from enum import Enum
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from ct_keras.codecs import DECODERS, lossy_method
from ct_keras.dicom import checks
from ct_keras.dicom.concatenation import Part, part_of
from ct_keras.dicom.encoding import complete, digest, inflate, read_elements
from ct_keras.dicom.frames import FRAME_GROUPS, SHARED_GROUPS, frame_headers
from ct_keras.dicom.lost import LINK, describe
from ct_keras.dicom.outline import Outline, look_over
from ct_keras.dicom.places import (
    PixelElement,
    Place,
    compressed_places,
    find_pixels,
    native_places,
)
from ct_keras.dicom.sources import SourceFile, SourceSlice, source_slice
from ct_keras.dicom.values import quiet_pydicom, term, text
from ct_keras.errors import CtKerasError
from ct_keras.inputs import ReadOptions
from ct_keras.inputs.archive import MAGIC, Entry, open_entry
from ct_keras.inputs.foreign import name_foreign, name_sop_class
from ct_keras.inputs.options import limit_fix

#: The header elements that a scan reads.
SCAN_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "PatientAge",
    "BodyPartExamined",
    "Manufacturer",
    "ContrastBolusAgent",
    "SeriesDescription",
    "Modality",
    "ImageType",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "FloatPixelPaddingValue",
    "FloatPixelPaddingRangeLimit",
    "DoubleFloatPixelPaddingValue",
    "DoubleFloatPixelPaddingRangeLimit",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceLocation",
    "SpacingBetweenSlices",
    "SliceThickness",
    "InstanceNumber",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "EchoNumbers",
    "KVP",
    "ConvolutionKernel",
    "XRayTubeCurrent",
    "ExposureTime",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "ContributingEquipmentSequence",
    SHARED_GROUPS,
    FRAME_GROUPS,
    "ExtendedOffsetTable",
    "ConcatenationUID",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
]
_MAGIC = b"DICM"
#: Bytes of a stream without preamble in which the SOP class is looked for.
_FIRST_BYTES = 4096


class Kind(Enum):
    """What a file turned out to be."""

    CT = "CT image"
    LOCALIZER = "localizer"
    OTHER = "DICOM, but not a CT image"
    DIRECTORY = "DICOMDIR"
    FOREIGN = "not DICOM"
    LINK = "link"
    BROKEN = "cannot be read"


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """The result of scanning one file.

    Attributes:
        kind: What it is.
        sources: The slices, for a CT image that can be read.
        series_uid: Its SeriesInstanceUID, if known; not of objects of other classes.
        error: The reason for refusing a CT image or a broken file.
        modality: Its modality, for other DICOM objects.
        what: What it is instead of a CT image, for a message; None if unknown.
        problem: `lost.describe` of a file that is not DICOM, or `lost.LINK`.
        localizers: Number of frames that were left out as localizers.
        odd_values: Number of header values that violate the DICOM standard.
        extra_bytes: Pixel bytes beyond the image.
        part: Which part it is of an image that was split over several files.
    """

    kind: Kind
    sources: tuple[SourceSlice, ...] = ()
    series_uid: str | None = None
    error: CtKerasError | None = None
    modality: str | None = None
    what: str | None = None
    problem: str = ""
    localizers: int = 0
    odd_values: int = 0
    extra_bytes: int = 0
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class _Opened:
    """A file that is scanned.

    Attributes:
        file: Its content; inflated, if it is deflated.
        entry: Where it is.
        number: 1-based number in the scan.
        version: `file_version`.
        outline: Of the content.
        syntax: Transfer syntax by the file meta.
        bare: Whether preamble and file meta were added.
    """

    file: BinaryIO
    entry: Entry
    number: int
    version: tuple[int, int]
    outline: Outline
    syntax: str
    bare: bool


def scan_file(entry: Entry, file_number: int, options: ReadOptions) -> ScannedFile:
    """Scans one file without following links or reading its pixels."""
    unreadable = CtKerasError("CTK-E005", f"cannot read file #{file_number}")
    try:
        if isinstance(entry, Path):
            mode = os.lstat(entry).st_mode
            if stat.S_ISLNK(mode):
                return ScannedFile(Kind.LINK, problem=LINK)
            if not stat.S_ISREG(mode):
                return ScannedFile(Kind.BROKEN, error=unreadable)
        with open_entry(entry) as (file, version):
            return _scan_opened(file, version, entry, file_number, options)
    except OSError:
        return ScannedFile(Kind.BROKEN, error=unreadable)
    except CtKerasError as error:
        return ScannedFile(Kind.BROKEN, error=error)


def _scan_opened(
    file: BinaryIO,
    version: tuple[int, int],
    entry: Entry,
    file_number: int,
    options: ReadOptions,
) -> ScannedFile:
    start = file.read(132)
    if start[128:] != _MAGIC:
        start += file.read(_FIRST_BYTES)
        with quiet_pydicom():
            other = _without_magic(start, entry, file_number, options)
        if other is not None:
            return other
        file = _completed(file, file_number, options)
    bare = start[128:132] != _MAGIC
    with quiet_pydicom() as warned:
        scanned = _scan_dicom(
            file, entry, version, file_number=file_number, options=options, bare=bare
        )
    if bare and scanned.extra_bytes:
        return ScannedFile(Kind.BROKEN, error=_bare(file_number))
    return replace(scanned, odd_values=len(warned)) if warned else scanned


def _without_magic(
    start: bytes, entry: Entry, file_number: int, options: ReadOptions
) -> ScannedFile | None:
    """Distinguishes a DICOM stream without preamble from any other file.

    Only a stream that may be a CT image is refused, and an archive in an archive.

    Returns:
        None for a stream that is accepted.
    """
    if start.startswith(MAGIC) and not isinstance(entry, Path):
        error = CtKerasError(
            "CTK-E008",
            f"file #{file_number} is an archive in an archive",
            fix="unpack the outer archive, and give its folder",
        )
        return ScannedFile(Kind.BROKEN, error=error)
    group, element, vr = struct.unpack_from("<HH2s", start.ljust(8, b"\0"))
    early = group in (0x0002, 0x0008) and element <= 0x0018
    if early and (vr.isalpha() or vr[1:] == b"\0"):
        sop_class = _first_sop_class(start)
        if sop_class and sop_class not in checks.CT_CLASSES:
            return ScannedFile(Kind.OTHER, what=name_sop_class(sop_class))
        options.settle("allow_no_preamble", _bare(file_number))
        return None
    what = name_foreign(entry.name, start)
    return ScannedFile(Kind.FOREIGN, what=what, problem=describe(start))


def _bare(file_number: int) -> CtKerasError:
    return CtKerasError(
        "CTK-E002",
        f"file #{file_number} has no DICOM preamble/meta header",
        expected="both, or a class, a matrix and pixel bytes that agree",
        fix="dcmconv IN OUT adds them",
    )


def _completed(file: BinaryIO, file_number: int, options: ReadOptions) -> BinaryIO:
    """A stream without preamble in memory, completed."""
    limits = options.limits
    limit = limits.max_header_bytes + limits.max_file_bytes
    if file.seek(0, os.SEEK_END) > limit:
        raise CtKerasError(
            "CTK-E041", f"file #{file_number} has more than {limit / 2**20:.0f} MiB"
        )
    return complete(file)


def _first_sop_class(start: bytes) -> str | None:
    """The SOP class in the first bytes of a stream without preamble, if any."""
    try:
        dataset = dcmread(BytesIO(start), force=True, specific_tags=["SOPClassUID"])
    except Exception:  # the stream is cut, and may be anything
        return None
    return text(dataset, "SOPClassUID")


def _scan_dicom(
    file: BinaryIO,
    entry: Entry,
    version: tuple[int, int],
    *,
    file_number: int,
    options: ReadOptions,
    bare: bool,
) -> ScannedFile:
    outline = look_over(file, options.limits)
    if outline.meta_class == MediaStorageDirectoryStorage:
        return ScannedFile(Kind.DIRECTORY)
    syntax = outline.syntax
    try:
        if syntax == DeflatedExplicitVRLittleEndian:
            file = _inflated(file, file_number, options)
            outline = look_over(file, options.limits)
        for sop_class in (outline.meta_class, outline.sop_class):
            if sop_class and sop_class not in checks.CT_CLASSES:
                return _other(sop_class, outline)
        if outline.problem is not None:
            raise CtKerasError("CTK-E007", f"file #{file_number}: {outline.problem}")
    except CtKerasError as error:
        return ScannedFile(Kind.BROKEN, error=error)
    opened = _Opened(file, entry, file_number, version, outline, syntax, bare)
    file.seek(0)
    head = BytesIO(file.read(outline.header_bytes))
    try:
        dataset = read_elements(head, SCAN_TAGS)
        return _classify(dataset, head, opened, options)
    except CtKerasError as error:
        return ScannedFile(Kind.BROKEN, error=error)
    except Exception:  # any bytes can follow the magic, and pydicom raises many types
        if head.tell() >= file.seek(0, os.SEEK_END):
            error = CtKerasError("CTK-E003", f"file #{file_number} is truncated")
        else:
            error = CtKerasError("CTK-E007", f"file #{file_number}: malformed header")
    return ScannedFile(Kind.BROKEN, error=error)


def _inflated(file: BinaryIO, file_number: int, options: ReadOptions) -> BinaryIO:
    """A deflated file, inflated in memory up to its limit."""
    limit = options.limits.max_header_bytes + options.limits.max_file_bytes
    try:
        inflated = inflate(file, limit + 1)
    except CtKerasError:
        raise
    except Exception as error:  # pydicom raises many types for odd file meta
        raise CtKerasError(
            "CTK-E007", f"file #{file_number}: malformed header"
        ) from error
    if inflated.seek(0, os.SEEK_END) > limit:
        raise CtKerasError(
            "CTK-E041",
            f"file #{file_number} inflates to more than {limit / 2**20:.0f} MiB",
            fix=limit_fix("max_file_bytes"),
        )
    return inflated


def _other(sop_class: str, outline: Outline) -> ScannedFile:
    """The result for a DICOM object whose class is not that of a CT image."""
    modality = checks.modality_name(outline.modality) if outline.modality else None
    return ScannedFile(Kind.OTHER, modality=modality, what=name_sop_class(sop_class))


def _classify(
    dataset: Dataset, head: BytesIO, opened: _Opened, options: ReadOptions
) -> ScannedFile:
    """Classifies a header; checks that of a CT image in detail."""
    sop_class = text(dataset, "SOPClassUID")
    sop_class = sop_class or opened.outline.meta_class
    if not sop_class:
        if "Rows" in dataset or not len(dataset):
            raise CtKerasError("CTK-E003", f"file #{opened.number} is truncated")
        return ScannedFile(Kind.OTHER)
    series_uid = text(dataset, "SeriesInstanceUID")
    modality = term(dataset, "Modality") or "CT"
    if sop_class not in checks.CT_CLASSES or modality != "CT":
        named = checks.modality_name(term(dataset, "Modality"))
        what, of_ct = name_sop_class(sop_class), sop_class in checks.CT_CLASSES
        return ScannedFile(
            Kind.OTHER, (), series_uid if of_ct else None, modality=named, what=what
        )
    if sop_class == checks.CT_IMAGE and checks.is_localizer(dataset):
        return ScannedFile(Kind.LOCALIZER)
    if checks.is_projection(dataset):
        return ScannedFile(Kind.OTHER, modality="CT", what="CT projections")
    try:
        return _read_image(dataset, head, opened, sop_class, options)
    except CtKerasError as error:
        return ScannedFile(Kind.CT, series_uid=series_uid, error=error)


def _read_image(
    dataset: Dataset,
    head: BytesIO,
    opened: _Opened,
    sop_class: str,
    options: ReadOptions,
) -> ScannedFile:
    """Checks the header of every frame of a CT image and finds its pixels."""
    number, syntax = opened.number, opened.syntax
    checks.check_syntax(syntax, number)
    frames = checks.count_frames(dataset, sop_class, number)
    big_endian = syntax == ExplicitVRBigEndian
    element = find_pixels(head, dataset, number, big_endian=big_endian)
    alone = sop_class == checks.CT_IMAGE
    headers = [dataset] if alone else list(frame_headers(dataset, number))
    pixel_bytes = element.float_bytes or 2
    if element.float_bytes:
        text = f"file #{number}: pixels are floating-point numbers"
        options.settle("allow_float", CtKerasError("CTK-E047", text))
    for header in headers:
        checks.check_header(header, number, options, element.float_bytes)
    misdeclared = element.implicit != (syntax == ImplicitVRLittleEndian)
    frame_bytes = int(dataset.Rows) * int(dataset.Columns) * pixel_bytes
    image_bytes = frame_bytes * frames
    if syntax in DECODERS and element.length == image_bytes:
        syntax, misdeclared = ExplicitVRLittleEndian, True  # decompressed before
    native = syntax not in DECODERS
    places = _places(dataset, element, opened, frames, native=native)
    if native and element.length - image_bytes >= frame_bytes:
        _check_rest(opened, element.start + image_bytes, frame_bytes, frames)
    file = SourceFile(
        entry=opened.entry,
        number=number,
        version=opened.version,
        sop_class_uid=sop_class,
        frames=frames,
        syntax=syntax,
        lossy_method=_lossy_method(opened.file, syntax, places[0][0]),
        implicit=element.implicit,
        misdeclared=misdeclared,
        bare=opened.bare,
        header_bytes=element.start,
        header_digest=digest(head.getvalue()[: element.start]),
    )
    sources = tuple(
        source_slice(header, file, place, frame, element.float_bytes)
        for frame, (header, place) in enumerate(zip(headers, places, strict=True))
        if not checks.is_localizer(header)
    )
    if not sources:
        return ScannedFile(Kind.LOCALIZER)
    return ScannedFile(
        Kind.CT,
        sources=sources,
        series_uid=sources[0].series_uid,
        localizers=frames - len(sources),
        extra_bytes=(element.length or image_bytes) - image_bytes,
        part=part_of(dataset),
    )


def _check_rest(opened: _Opened, end: int, frame_bytes: int, frames: int) -> None:
    """Refuses images of which the header does not tell, behind those that it counts."""
    opened.file.seek(end)
    rest = opened.file.read(frame_bytes)
    if len(rest) == frame_bytes and rest.strip(b"\0"):
        raise CtKerasError(
            "CTK-E048",
            f"file #{opened.number}: more images follow those of its header",
            received=f"pixels of more than {frames}, NumberOfFrames {frames} or none",
            fix="copy the series again from its source",
        )


def _lossy_method(file: BinaryIO, syntax: str, place: Place) -> str | None:
    """How an image was lossy-compressed: some say so in the compressed pixels only."""
    if syntax not in DECODERS:
        return None
    file.seek(place[0])
    return lossy_method(syntax, file.read(min(place[1], _FIRST_BYTES)))


def _places(
    dataset: Dataset,
    element: PixelElement,
    opened: _Opened,
    frames: int,
    *,
    native: bool,
) -> list[tuple[Place, ...]]:
    """Where the pixels of each frame lie."""
    file, number = opened.file, opened.number
    if native:
        pixel_bytes = element.float_bytes or 2
        frame_bytes = int(dataset.Rows) * int(dataset.Columns) * pixel_bytes
        return native_places(file, element, frame_bytes, frames, number)
    return compressed_places(file, element, frames, number, _offset_table(dataset))


def _offset_table(dataset: Dataset) -> tuple[int, ...]:
    """The extended offset table, empty if there is none."""
    table = dataset.get("ExtendedOffsetTable") or b""
    return struct.unpack(f"<{len(table) // 8}Q", table[: len(table) // 8 * 8])
