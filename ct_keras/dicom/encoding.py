"""Reads the elements of a file in the encoding that is found in it."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import BinaryIO

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import VR

from ct_keras.dicom.values import quiet_pydicom, text
from ct_keras.errors import CtKerasError

_MAGIC = b"DICM"
_MAGIC_END = 132
_FIRST_GROUP = b"\x08\0"
_META_GROUP = b"\x02\0"
_PIXEL_GROUP = 0x7FE0
_VALUE_REPRESENTATIONS = frozenset(vr.value.encode() for vr in VR)


def digest(header: bytes) -> bytes:
    """Returns a checksum that identifies a header."""
    return hashlib.blake2b(header, digest_size=16).digest()


def read_meta(file: BinaryIO) -> tuple[Dataset, bool]:
    """Reads the file meta behind the magic.

    Args:
        file: At the end of the magic; left at the first element of the data set.

    Returns:
        The file meta, and whether the first element names its VR.
    """
    meta = read_dataset(file, False, True, stop_when=_beyond_meta)
    start = file.tell()
    explicit = file.read(6)[4:] in _VALUE_REPRESENTATIONS
    file.seek(start)
    return meta, explicit


def read_elements(file: BinaryIO, keywords: Sequence[str] | None = None) -> Dataset:
    """Reads the elements before the pixels.

    Whether elements name their VR is as found, whatever the file meta says.

    Args:
        file: A file with preamble, at any place; left at the pixels.
        keywords: The elements to read; None for all.

    Raises:
        CtKerasError: CTK-E007, if the bytes have another order than the file meta says.
    """
    file.seek(_MAGIC_END)
    meta, explicit = read_meta(file)
    little_endian = meta.get("TransferSyntaxUID") != ExplicitVRBigEndian
    _check_byte_order(file, little_endian=little_endian)
    tags = None if keywords is None else [Tag(keyword) for keyword in keywords]
    elements = read_dataset(
        file, not explicit, little_endian, stop_when=_at_pixels, specific_tags=tags
    )
    return FileDataset(
        file,
        elements,
        file_meta=FileMetaDataset(meta),
        is_implicit_VR=not explicit,
        is_little_endian=little_endian,
    )


def _check_byte_order(file: BinaryIO, *, little_endian: bool) -> None:
    """Refuses a data set that begins with its usual group the other way round."""
    start = file.tell()
    found = file.read(2)
    file.seek(start)
    if found == _FIRST_GROUP[:: -1 if little_endian else 1]:
        raise CtKerasError(
            "CTK-E007",
            "a file does not have the byte order that its file meta says",
            fix="write it again: gdcmconv or dcmconv with the right input syntax",
        )


def complete(file: BinaryIO) -> BytesIO:
    """Adds what a file without preamble lacks; its encoding follows from its start.

    Args:
        file: A data set, or the file meta and a data set; at any place.

    Returns:
        The file with a preamble, and with a transfer syntax if it had no file meta.
    """
    file.seek(0)
    data = file.read()
    result = BytesIO()
    result.write(bytes(_MAGIC_END - len(_MAGIC)) + _MAGIC)
    if data[:2] != _META_GROUP:
        explicit = data[4:6] in _VALUE_REPRESENTATIONS
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = (
            ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian
        )
        write_file_meta_info(result, meta, enforce_standard=False)
    result.write(data)
    result.seek(0)
    return result


def inflate(file: BinaryIO, most_bytes: int) -> BytesIO:
    """Inflates a file whose data set is deflated.

    Args:
        file: A file with preamble, at any place.
        most_bytes: How much of the result is wanted at most; more is left out.

    Returns:
        The file as if written in Explicit VR Little Endian, its file meta reduced to
        class and syntax.

    Raises:
        CtKerasError: CTK-E007, if the data are damaged.
    """
    file.seek(_MAGIC_END)
    result = BytesIO()
    result.write(bytes(_MAGIC_END - len(_MAGIC)) + _MAGIC)
    with quiet_pydicom():
        found = read_dataset(file, False, True, stop_when=_beyond_meta)
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = text(found, "MediaStorageSOPClassUID") or ""
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        write_file_meta_info(result, meta, enforce_standard=False)
    room = max(1, most_bytes - result.tell())
    # Deflation makes even noise hardly longer.
    deflated = file.read(room + room // 1000 + 1024)
    try:
        result.write(zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, room))
    except zlib.error as error:
        raise CtKerasError(
            "CTK-E007",
            "a deflated file is damaged",
            fix="copy the series again from its source",
        ) from error
    result.seek(0)
    return result


def _beyond_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag.group != 2


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag.group == _PIXEL_GROUP and tag.element in (0x0008, 0x0009, 0x0010)
