"""Reads the elements of a file in the encoding that is found in it.

pydicom notices by itself that a data set is implicit although its file meta says
explicit; the reverse is done here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import ImplicitVRLittleEndian
from pydicom.valuerep import VR

_MAGIC_END = 132
_PIXEL_GROUP = 0x7FE0
_VALUE_REPRESENTATIONS = frozenset(vr.value.encode() for vr in VR)


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

    Args:
        file: A file with preamble, at any place; left at the pixels.
        keywords: The elements to read; None for all.
    """
    file.seek(_MAGIC_END)
    meta, explicit = read_meta(file)
    declared_implicit = meta.get("TransferSyntaxUID") == ImplicitVRLittleEndian
    if not (explicit and declared_implicit):
        file.seek(0)
        return dcmread(file, stop_before_pixels=True, specific_tags=keywords)
    tags = None if keywords is None else [Tag(keyword) for keyword in keywords]
    elements = read_dataset(file, False, True, stop_when=_at_pixels, specific_tags=tags)
    return FileDataset(
        file,
        elements,
        file_meta=FileMetaDataset(meta),
        is_implicit_VR=False,
        is_little_endian=True,
    )


def _beyond_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag.group != 2


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag.group == _PIXEL_GROUP and tag.element in (0x0008, 0x0009, 0x0010)
