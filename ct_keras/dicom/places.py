"""Where the pixels of each frame lie in a file.

Native pixels follow each other. Compressed ones are fragments in items; the frames that
they belong to follow from an offset table, from their number, or from how they begin.

Reference:
    DICOM PS3.5, A.4: encapsulated pixel data.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.dataset import Dataset

from ct_keras.codecs import starts_frame
from ct_keras.dicom.values import integer
from ct_keras.errors import CtKerasError

#: (first byte, number of bytes) in a file.
Place = tuple[int, int]

_PIXEL_DATA = (0x7FE0, 0x0010)
#: Elements of floating-point pixels -> bytes of one.
_FLOAT_PIXELS = {(0x7FE0, 0x0008): 4, (0x7FE0, 0x0009): 8}
_PIXEL_VRS = (b"OW", b"OB", b"OF", b"OD")
_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_MOST_FRAGMENTS = 2**20


@dataclass(frozen=True)
class PixelElement:
    """The element that holds the pixels of a file.

    Attributes:
        start: Where its value starts in the file.
        length: Bytes of its value, None for compressed pixels.
        implicit: Whether it does not name its VR.
        float_bytes: Bytes of a floating-point pixel, 0 for integers.
    """

    start: int
    length: int | None
    implicit: bool
    float_bytes: int = 0


def find_pixels(
    head: BinaryIO, dataset: Dataset, file_number: int, *, big_endian: bool = False
) -> PixelElement:
    """Reads the head of the element that holds the pixels.

    Whether the VR is explicit follows from the element itself: some files are not
    encoded as their file meta says. A length that spells OW or OB would be odd.

    Args:
        head: At the element behind the header.
        dataset: The header, for messages.
        file_number: The file, for messages.
        big_endian: The byte order.

    Raises:
        CtKerasError: CTK-E003, if there is none; CTK-E007.
    """
    order = ">" if big_endian else "<"
    start = head.tell()
    data = head.read(12)
    tag = struct.unpack_from(order + "HH", data.ljust(4, b"\0"))
    float_bytes = _FLOAT_PIXELS.get(tag, 0)
    implicit = data[4:6] not in _PIXEL_VRS
    known = tag == _PIXEL_DATA or float_bytes
    if not known or len(data) < (8 if implicit else 12):
        rows, columns = integer(dataset, "Rows"), integer(dataset, "Columns")
        raise truncated(file_number, 0, 2 * (rows or 0) * (columns or 0))
    (length,) = struct.unpack_from(order + "I", data, 4 if implicit else 8)
    start += 8 if implicit else 12
    if length == _UNDEFINED_LENGTH:
        return PixelElement(start, None, implicit, float_bytes)
    return PixelElement(start, length, implicit, float_bytes)


def native_places(
    file: BinaryIO,
    element: PixelElement,
    frame_bytes: int,
    frames: int,
    file_number: int,
) -> list[tuple[Place, ...]]:
    """Places of the frames of pixels that are not compressed.

    Args:
        file: The file, at any place.
        element: Where the pixels are.
        frame_bytes: Bytes of a frame.
        frames: Number of frames.
        file_number: The file, for messages.

    Raises:
        CtKerasError: CTK-E003, if there are too few bytes; CTK-E007, if the pixels are
            compressed.
    """
    if element.length is None:
        raise CtKerasError("CTK-E007", f"file #{file_number}: malformed pixel data")
    size = file.seek(0, os.SEEK_END)
    present = min(size - element.start, element.length)
    if present < frame_bytes * frames:
        raise truncated(file_number, present, frame_bytes * frames)
    return [((element.start + i * frame_bytes, frame_bytes),) for i in range(frames)]


def compressed_places(
    file: BinaryIO,
    element: PixelElement,
    frames: int,
    file_number: int,
    offsets: Sequence[int] = (),
) -> list[tuple[Place, ...]]:
    """Places of the fragments of each frame of compressed pixels.

    Args:
        file: The file, at any place.
        element: Where the pixels are.
        frames: Number of frames.
        file_number: The file, for messages.
        offsets: The extended offset table, if there is one.

    Raises:
        CtKerasError: CTK-E003, if the file is cut; CTK-E007, if the pixels are not in
            items; CTK-E049, if the frames of the fragments cannot be told.
    """
    malformed = CtKerasError("CTK-E007", f"file #{file_number}: malformed pixel data")
    if element.length is not None:
        raise malformed
    items = _items(file, element.start, file_number)
    if items is None:
        raise malformed
    (table_start, table_bytes), *fragments = items
    if not offsets and table_bytes:
        file.seek(table_start)
        table = file.read(table_bytes)
        offsets = struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])
    if not fragments:
        raise truncated(file_number, 0, 1)
    grouped = _group(file, fragments, frames, offsets)
    if grouped is None:
        raise CtKerasError(
            "CTK-E049",
            f"file #{file_number}: {len(fragments)} compressed fragments cannot be "
            f"assigned to {frames} frames",
            fix="decompress it: gdcmconv --raw IN OUT",
        )
    return grouped


def _items(file: BinaryIO, start: int, file_number: int) -> list[Place] | None:
    """The values of the items of a sequence, None if something else is there."""
    size = file.seek(0, os.SEEK_END)
    items: list[Place] = []
    place = start
    while place < size and len(items) <= _MOST_FRAGMENTS:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            break
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == _SEQUENCE_END:
            break
        if (group, element) != _ITEM or length == _UNDEFINED_LENGTH:
            return None
        place += 8 + length
        if place > size:
            raise truncated(file_number, size - start, place - start)
        items.append((place - length, length))
    return items if 0 < len(items) <= _MOST_FRAGMENTS else None


def _group(
    file: BinaryIO, fragments: list[Place], frames: int, offsets: Sequence[int]
) -> list[tuple[Place, ...]] | None:
    """Assigns fragments to frames, None if that is ambiguous."""
    if frames == 1:
        return [tuple(fragments)]
    if len(fragments) == frames:
        return [(fragment,) for fragment in fragments]
    first = fragments[0][0] - 8
    if len(offsets) == frames:
        starts = {first + offset for offset in offsets}
        begins = [place - 8 in starts for place, _ in fragments]
    else:
        begins = [_starts_frame(file, place) for place, _ in fragments]
    if sum(begins) != frames or not begins[0]:
        return None
    grouped: list[list[Place]] = []
    for fragment, begin in zip(fragments, begins, strict=True):
        if begin:
            grouped.append([])
        grouped[-1].append(fragment)
    return [tuple(group) for group in grouped]


def _starts_frame(file: BinaryIO, place: int) -> bool:
    file.seek(place)
    return starts_frame(file.read(8))


def truncated(file_number: int, received: int, expected: int) -> CtKerasError:
    """Returns the refusal of a file that ends too early."""
    return CtKerasError(
        "CTK-E003",
        f"file #{file_number} is truncated: {received} of {expected} pixel bytes",
        fix="copy the series again from its source",
    )
