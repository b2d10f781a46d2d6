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
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import MediaStorageDirectoryStorage

from ct_keras.dicom import checks
from ct_keras.dicom.checks import Limits
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
_UNDEFINED_LENGTH = 0xFFFFFFFF


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
        source: The slice, for a CT image that can be read.
        series_uid: Its SeriesInstanceUID, if known.
        error: The reason for refusing a CT image or a broken file.
        modality: Its modality, for other DICOM objects.
        odd_values: Number of header values that violate the DICOM standard.
        extra_bytes: Pixel bytes beyond the image.
    """

    kind: Kind
    source: SourceSlice | None = None
    series_uid: str | None = None
    error: CtKerasError | None = None
    modality: str | None = None
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
            start = file.read(132)
            if start[128:] != b"DICM":
                return _without_magic(start, file_number)
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


def _without_magic(start: bytes, file_number: int) -> ScannedFile:
    """Distinguishes a DICOM stream without preamble from any other file."""
    group, element, vr = struct.unpack_from("<HH2s", start.ljust(8, b"\0"))
    early = group in (0x0002, 0x0008) and element <= 0x0018
    if early and (vr.isalpha() or vr[1:] == b"\0"):
        error = CtKerasError(
            "CTK-E002",
            f"file #{file_number} has no DICOM preamble/meta header",
            fix="dcmconv IN OUT adds one",
        )
        return ScannedFile(Kind.BROKEN, error=error)
    return ScannedFile(Kind.FOREIGN)


def _scan_dicom(
    file: BinaryIO, path: Path, *, file_number: int, limits: Limits, size: int
) -> ScannedFile:
    meta_class = None
    try:
        meta = read_dataset(file, False, True, stop_when=_beyond_meta)
        file.seek(0)
        meta_class = str(meta.get("MediaStorageSOPClassUID", ""))
        if meta_class == MediaStorageDirectoryStorage:
            return ScannedFile(Kind.DIRECTORY)
        syntax = str(meta.get("TransferSyntaxUID", ""))
        if syntax.endswith("1.2.1.99"):  # would be inflated as a whole, without limit
            checks.check_syntax(syntax, file_number)
        dataset = dcmread(file, stop_before_pixels=True, specific_tags=SCAN_TAGS)
        if file.tell() > limits.max_header_bytes:
            raise RecursionError
        return _classify(
            dataset, meta, file, path=path, file_number=file_number, limits=limits
        )
    except CtKerasError as error:
        return ScannedFile(Kind.BROKEN, error=error)
    except RecursionError:
        problem = "header over 16 MiB or nested deeper than 32"
        error = CtKerasError("CTK-E007", f"file #{file_number}: {problem}")
    except Exception:  # any bytes can follow the magic, and pydicom raises many types
        if file.tell() >= size:
            error = CtKerasError("CTK-E003", f"file #{file_number} is truncated")
        else:
            error = CtKerasError("CTK-E007", f"file #{file_number}: malformed header")
    if meta_class and meta_class not in checks.CT_CLASSES:
        return ScannedFile(Kind.OTHER)
    return ScannedFile(Kind.BROKEN, error=error)


def _beyond_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag.group != 2


def _classify(
    dataset: Dataset,
    meta: Dataset,
    file: BinaryIO,
    *,
    path: Path,
    file_number: int,
    limits: Limits,
) -> ScannedFile:
    """Classifies a header; checks that of a CT image in detail."""
    sop_class = text(dataset, "SOPClassUID")
    sop_class = sop_class or text(meta, "MediaStorageSOPClassUID")
    if not sop_class:
        raise CtKerasError("CTK-E003", f"file #{file_number} is truncated")
    modality = term(dataset, "Modality") or "CT"
    if sop_class not in checks.CT_CLASSES or modality != "CT":
        return ScannedFile(Kind.OTHER, modality=checks.modality_name(dataset))
    if checks.is_localizer(dataset):
        return ScannedFile(Kind.LOCALIZER)
    series_uid = text(dataset, "SeriesInstanceUID")
    try:
        checks.check_frames(dataset, file_number)
        checks.check_syntax(text(meta, "TransferSyntaxUID") or "", file_number)
        implicit = bool(dataset.original_encoding[0])
        length = _find_pixels(file, dataset, file_number, implicit=implicit)
        offset = file.tell()
        checks.check_header(dataset, file_number, limits)
        source = source_slice(dataset, path, file_number, pixel_offset=offset)
        present = min(os.fstat(file.fileno()).st_size - offset, length)
        if present < source.pixel_bytes:
            raise truncated(file_number, present, source.pixel_bytes)
    except CtKerasError as error:
        return ScannedFile(Kind.CT, series_uid=series_uid, error=error)
    extra = length - source.pixel_bytes
    return ScannedFile(Kind.CT, source=source, series_uid=series_uid, extra_bytes=extra)


def _find_pixels(
    file: BinaryIO, dataset: Dataset, file_number: int, *, implicit: bool
) -> int:
    """Moves to the first pixel byte and returns the length of PixelData."""
    head = file.read(12)
    if len(head) >= 8 and struct.unpack_from("<HH", head) in _FLOAT_PIXELS:
        raise CtKerasError(
            "CTK-E047", f"file #{file_number}: pixels are floating-point numbers"
        )
    if len(head) < 12 or struct.unpack_from("<HH", head) != _PIXEL_DATA:
        rows, columns = integer(dataset, "Rows"), integer(dataset, "Columns")
        raise truncated(file_number, 0, 2 * (rows or 0) * (columns or 0))
    if implicit:
        file.seek(-4, os.SEEK_CUR)
    (length,) = struct.unpack_from("<I", head, 4 if implicit else 8)
    if length == _UNDEFINED_LENGTH:
        raise CtKerasError("CTK-E007", f"file #{file_number}: malformed pixel data")
    return length
