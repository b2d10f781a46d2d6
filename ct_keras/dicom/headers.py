"""Scans one file: whether it is a CT image, and its header.

Cheap checks come first: kind of file, magic, file meta, then the header up to the
pixels. Any content gives a `ScannedFile`; exceptions of pydicom never escape.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from enum import Enum
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, MediaStorageDirectoryStorage

from ct_keras.dicom import checks
from ct_keras.dicom.checks import Limits
from ct_keras.dicom.encoding import read_elements
from ct_keras.dicom.foreign import name_foreign, name_sop_class
from ct_keras.dicom.outline import Outline, look_over
from ct_keras.dicom.pixels import truncated
from ct_keras.dicom.sources import SourceSlice, source_slice
from ct_keras.dicom.values import integer, quiet_pydicom, term, text
from ct_keras.errors import CtKerasError

#: The header elements that a scan reads.
SCAN_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "PatientID",
    "PatientAge",
    "BodyPartExamined",
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
]
_PIXEL_DATA = (0x7FE0, 0x0010)
_FLOAT_PIXELS = ((0x7FE0, 0x0008), (0x7FE0, 0x0009))
_PIXEL_VRS = (b"OW", b"OB")
_UNDEFINED_LENGTH = 0xFFFFFFFF
#: Bytes of a stream without preamble in which the SOP class is looked for.
_FIRST_BYTES = 4096


class Kind(Enum):
    """What a file turned out to be."""

    CT = "CT image"
    LOCALIZER = "localizer"
    OTHER = "DICOM, but not a CT image"
    DIRECTORY = "DICOMDIR"
    FOREIGN = "not DICOM"
    EMPTY = "empty"
    LINK = "link"
    BROKEN = "cannot be read"


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """The result of scanning one file.

    Attributes:
        kind: What it is.
        source: The slice, for a CT image that can be read.
        series_uid: Its SeriesInstanceUID, if known.
        error: The reason for refusing a CT image or a broken file.
        modality: Its modality, for other DICOM objects.
        what: What it is instead of a CT image, for a message; None if unknown.
        odd_values: Number of header values that violate the DICOM standard.
        extra_bytes: Pixel bytes beyond the image.
    """

    kind: Kind
    source: SourceSlice | None = None
    series_uid: str | None = None
    error: CtKerasError | None = None
    modality: str | None = None
    what: str | None = None
    odd_values: int = 0
    extra_bytes: int = 0


def scan_file(path: Path, file_number: int, limits: Limits) -> ScannedFile:
    """Scans one file without following links or reading its pixels."""
    unreadable = CtKerasError("CTK-E005", f"cannot read file #{file_number}")
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return ScannedFile(Kind.LINK)
        if not stat.S_ISREG(status.st_mode):
            return ScannedFile(Kind.BROKEN, error=unreadable)
        with open(path, "rb") as file:
            if status.st_size == 0:
                return ScannedFile(Kind.EMPTY)
            start = file.read(132)
            if start[128:] != b"DICM":
                start += file.read(_FIRST_BYTES)
                return _without_magic(start, path.name, file_number)
            with quiet_pydicom() as warned:
                scanned = _scan_dicom(
                    file,
                    path,
                    file_number=file_number,
                    limits=limits,
                    size=status.st_size,
                )
    except OSError:
        return ScannedFile(Kind.BROKEN, error=unreadable)
    if not warned:
        return scanned
    fields = {name: getattr(scanned, name) for name in ScannedFile.__slots__}
    return ScannedFile(**{**fields, "odd_values": len(warned)})


def _without_magic(start: bytes, name: str, file_number: int) -> ScannedFile:
    """Distinguishes a DICOM stream without preamble from any other file.

    Only a stream that may be a CT image is refused.
    """
    group, element, vr = struct.unpack_from("<HH2s", start.ljust(8, b"\0"))
    early = group in (0x0002, 0x0008) and element <= 0x0018
    if early and (vr.isalpha() or vr[1:] == b"\0"):
        sop_class = _first_sop_class(start)
        if sop_class and sop_class not in checks.CT_CLASSES:
            return ScannedFile(Kind.OTHER, what=name_sop_class(sop_class))
        error = CtKerasError(
            "CTK-E002",
            f"file #{file_number} has no DICOM preamble/meta header",
            fix="dcmconv IN OUT adds one",
        )
        return ScannedFile(Kind.BROKEN, error=error)
    return ScannedFile(Kind.FOREIGN, what=name_foreign(name, start))


def _first_sop_class(start: bytes) -> str | None:
    """The SOP class in the first bytes of a stream without preamble, if any."""
    try:
        dataset = dcmread(BytesIO(start), force=True, specific_tags=["SOPClassUID"])
    except Exception:  # the stream is cut, and may be anything
        return None
    return text(dataset, "SOPClassUID")


def _scan_dicom(
    file: BinaryIO, path: Path, *, file_number: int, limits: Limits, size: int
) -> ScannedFile:
    outline = look_over(file, limits)
    if outline.meta_class == MediaStorageDirectoryStorage:
        return ScannedFile(Kind.DIRECTORY)
    for sop_class in (outline.meta_class, outline.sop_class):
        if sop_class and sop_class not in checks.CT_CLASSES:
            return _other(sop_class, outline)
    if outline.problem is not None:
        error = CtKerasError("CTK-E007", f"file #{file_number}: {outline.problem}")
        return ScannedFile(Kind.BROKEN, error=error)
    file.seek(0)
    head = BytesIO(file.read(outline.header_bytes))
    try:
        if outline.syntax.endswith("1.2.1.99"):  # would be inflated without limit
            checks.check_syntax(outline.syntax, file_number)
        dataset = read_elements(head, SCAN_TAGS)
        return _classify(
            dataset,
            outline,
            head,
            path=path,
            file_number=file_number,
            limits=limits,
            size=size,
        )
    except CtKerasError as error:
        return ScannedFile(Kind.BROKEN, error=error)
    except Exception:  # any bytes can follow the magic, and pydicom raises many types
        if head.tell() >= size:
            error = CtKerasError("CTK-E003", f"file #{file_number} is truncated")
        else:
            error = CtKerasError("CTK-E007", f"file #{file_number}: malformed header")
    return ScannedFile(Kind.BROKEN, error=error)


def _other(sop_class: str, outline: Outline) -> ScannedFile:
    """The result for a DICOM object whose class is not that of a CT image."""
    modality = checks.modality_name(outline.modality) if outline.modality else None
    return ScannedFile(Kind.OTHER, modality=modality, what=name_sop_class(sop_class))


def _classify(
    dataset: Dataset,
    outline: Outline,
    file: BinaryIO,
    *,
    path: Path,
    file_number: int,
    limits: Limits,
    size: int,
) -> ScannedFile:
    """Classifies a header; checks that of a CT image in detail."""
    sop_class = text(dataset, "SOPClassUID")
    sop_class = sop_class or outline.meta_class
    if not sop_class:
        if "Rows" in dataset or not len(dataset):
            raise CtKerasError("CTK-E003", f"file #{file_number} is truncated")
        return ScannedFile(Kind.OTHER)
    modality = term(dataset, "Modality") or "CT"
    if sop_class not in checks.CT_CLASSES or modality != "CT":
        modality = checks.modality_name(term(dataset, "Modality"))
        what = name_sop_class(sop_class)
        return ScannedFile(Kind.OTHER, modality=modality, what=what)
    if checks.is_localizer(dataset):
        return ScannedFile(Kind.LOCALIZER)
    series_uid = text(dataset, "SeriesInstanceUID")
    try:
        checks.check_frames(dataset, file_number)
        syntax = outline.syntax
        checks.check_syntax(syntax, file_number)
        length, implicit = _find_pixels(file, dataset, file_number)
        offset = file.tell()
        checks.check_header(dataset, file_number, limits)
        source = source_slice(
            dataset,
            path,
            file_number,
            pixel_offset=offset,
            implicit=implicit,
            misdeclared=implicit != (syntax == ImplicitVRLittleEndian),
        )
        present = min(size - offset, length)
        if present < source.pixel_bytes:
            raise truncated(file_number, present, source.pixel_bytes)
    except CtKerasError as error:
        return ScannedFile(Kind.CT, series_uid=series_uid, error=error)
    extra = length - source.pixel_bytes
    return ScannedFile(Kind.CT, source=source, series_uid=series_uid, extra_bytes=extra)


def _find_pixels(
    file: BinaryIO, dataset: Dataset, file_number: int
) -> tuple[int, bool]:
    """Moves to the first pixel byte; returns the length of PixelData, and if implicit.

    Whether the VR is explicit follows from the element itself: some files are not
    encoded as their file meta says. A length that spells OW or OB would be odd.
    """
    head = file.read(12)
    if len(head) >= 8 and struct.unpack_from("<HH", head) in _FLOAT_PIXELS:
        raise CtKerasError(
            "CTK-E047", f"file #{file_number}: pixels are floating-point numbers"
        )
    if len(head) < 12 or struct.unpack_from("<HH", head) != _PIXEL_DATA:
        rows, columns = integer(dataset, "Rows"), integer(dataset, "Columns")
        raise truncated(file_number, 0, 2 * (rows or 0) * (columns or 0))
    implicit = head[4:6] not in _PIXEL_VRS
    if implicit:
        file.seek(-4, os.SEEK_CUR)
    (length,) = struct.unpack_from("<I", head, 4 if implicit else 8)
    if length == _UNDEFINED_LENGTH:
        raise CtKerasError("CTK-E007", f"file #{file_number}: malformed pixel data")
    return length, implicit
