"""What a compressed frame says about itself, read before a decoder believes it.

References:
    ITU-T T.81 (JPEG), T.87 (JPEG-LS) and T.800, Annexes A and I (JPEG 2000).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_START_OF_CODESTREAM = b"\xff\x4f"
_SIZ, _COD = 0xFF51, 0xFF52
#: From the marker of the coding style to its transformation.
_TRANSFORMATION = 13
_SCAN_MARKER = 0xDA
_JP2_SIGNATURE = b"\0\0\0\x0cjP  "
#: Start-of-frame markers: JPEG's without DHT, JPG and DAC, and that of JPEG-LS.
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_LONGEST_TAIL = 1024
#: Markers without a length.
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass(frozen=True)
class Codestream:
    """The size and form of the pixels in a compressed frame.

    Attributes:
        rows: Number of rows.
        columns: Number of columns.
        components: Values per pixel.
        precision: Bits of a value.
        signed: Whether values have a sign; None where the format cannot say.
    """

    rows: int
    columns: int
    components: int
    precision: int
    signed: bool | None = None


def starts_frame(data: bytes) -> bool:
    """Whether bytes are the start of a JPEG, JPEG-LS or JPEG 2000 image."""
    return data.startswith((_SOI, _START_OF_CODESTREAM, _JP2_SIGNATURE))


def ends_frame(data: bytes) -> bool:
    """Whether a JPEG or JPEG-LS image has its end marker, or few bytes behind it.

    No coded pixel looks like a marker.
    """
    return _EOI in data[-_LONGEST_TAIL:]


def read_jpeg(data: bytes) -> Codestream | None:
    """Reads the frame header of a JPEG or JPEG-LS image, None if there is none."""
    if not data.startswith(_SOI):
        return None
    place = len(_SOI)
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # fill bytes may precede a marker
            place += 1
        elif marker in _BARE_MARKERS:
            place += 2
        elif marker in _FRAME_MARKERS:
            if place + 10 > len(data):
                return None
            found = struct.unpack_from(">BHHB", data, place + 4)
            precision, rows, columns, components = found
            return Codestream(rows, columns, components, precision)
        else:
            place += 2 + struct.unpack_from(">H", data, place + 2)[0]
    return None


def read_jpeg_2000(data: bytes) -> Codestream | None:
    """Reads the size marker of a JPEG 2000 codestream, bare or in a JP2 file.

    Returns:
        None if there is none, or if components are sampled more coarsely.
    """
    if data.startswith(_JP2_SIGNATURE):
        data = _unwrap(data)
    if len(data) < 45 or struct.unpack_from(">HH", data) != (0xFF4F, _SIZ):
        return None
    right, bottom, left, top = struct.unpack_from(">4I", data, 8)
    (components,) = struct.unpack_from(">H", data, 40)
    depth, step_x, step_y = data[42:45]
    if (step_x, step_y) != (1, 1):
        return None
    precision = (depth & 0x7F) + 1
    signed = bool(depth & 0x80)
    return Codestream(bottom - top, right - left, components, precision, signed)


def is_irreversible(data: bytes) -> bool:
    """Whether a JPEG 2000 codestream uses the transformation that rounds values.

    Args:
        data: At least its main header.
    """
    if data.startswith(_JP2_SIGNATURE):
        data = _unwrap(data)
    place = len(_START_OF_CODESTREAM)
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, length = struct.unpack_from(">HH", data, place)
        if marker == _COD:
            found = data[place + _TRANSFORMATION : place + _TRANSFORMATION + 1]
            return found == b"\0"
        place += 2 + length
    return False


def is_near_lossless(data: bytes) -> bool:
    """Whether a JPEG-LS image allows for differences from its values.

    Args:
        data: At least its headers.
    """
    place = len(_SOI)
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, (length,) = data[place + 1], struct.unpack_from(">H", data, place + 2)
        if marker == _SCAN_MARKER:  # of one component: NEAR follows its three bytes
            return data[place + 7 : place + 8] not in (b"", b"\0")
        place += 2 + length
    return False


def _unwrap(data: bytes) -> bytes:
    """The codestream in a JP2 file, empty if there is none."""
    place = 0
    while place + 16 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, place + 8)
            head = 16
        if kind == b"jp2c":
            return data[place + head :]
        if length < head:
            return b""
        place += length
    return b""
