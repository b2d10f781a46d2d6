"""Stored pixel values, Hounsfield units and padding of one slice."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from ct_keras.codecs import decode_frame
from ct_keras.dicom.encoding import complete, digest, inflate
from ct_keras.dicom.places import Place, truncated
from ct_keras.dicom.sources import SourceSlice
from ct_keras.dicom.values import quiet_pydicom
from ct_keras.errors import CtKerasError
from ct_keras.hu import NO_MEASUREMENT_HU, PADDING_HU
from ct_keras.inputs.archive import open_entry


class SlicePixels(NamedTuple):
    """The pixels of one slice, all of shape (rows, columns).

    Attributes:
        stored: int16 or uint16, the values in the file, high bits cleared.
        hu: float32, HU by the slope and intercept of this slice; padding is converted
            too.
        padding: bool, True where a pixel holds no measurement.
        header: The bytes of the file before the pixels; see `series.read_header`.
            Empty for a frame of a multi-frame file.
    """

    stored: np.ndarray
    hu: np.ndarray
    padding: np.ndarray
    header: bytes


def read_stored(source: SourceSlice) -> tuple[np.ndarray, bytes]:
    """Reads the stored pixel values of a slice and the bytes before them.

    Bits above BitsStored are cleared (unsigned) or made copies of the sign bit.

    Returns:
        int16 or uint16 of shape (rows, columns), and the bytes of the header.

    Raises:
        CtKerasError: CTK-E003, if the file has become shorter; CTK-E005, if it cannot
            be read or has changed; CTK-E044, if floating-point pixels are not finite;
            for compressed pixels as `decoders.decode_frame`.
    """
    header, data = _read_places(source, source.places)
    shape = source.rows, source.columns
    if source.floats is not None:
        stored = _rounded(data, source)
    elif source.decoder is None:
        order = "<" if source.file.little_endian else ">"
        stored = np.frombuffer(data, order + ("i2" if source.signed else "u2"))
        stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    else:
        with quiet_pydicom():
            stored = decode_frame(
                data,
                source.file.syntax,
                shape,
                bits_stored=source.bits_stored,
                signed=source.signed,
                file_number=source.number,
            )
    unused = 16 - source.bits_stored
    if unused:
        stored = np.right_shift(np.left_shift(stored, unused), unused)
    return stored.reshape(shape), header


def _rounded(data: bytes, source: SourceSlice) -> np.ndarray:
    """Stored values of floating-point pixels."""
    order = "<" if source.file.little_endian else ">"
    pixels = np.frombuffer(data, f"{order}f{source.floats.pixel_bytes}")
    if not np.isfinite(pixels).all():
        raise CtKerasError(
            "CTK-E044",
            "voxel values are not Hounsfield units",
            received=f"file #{source.number} holds values that are not finite",
        )
    return source.floats.to_stored(pixels)


def read_header_bytes(source: SourceSlice) -> bytes:
    """Reads the bytes of a file before its pixels.

    Raises:
        CtKerasError: CTK-E005, if the file cannot be read or has changed.
    """
    return _read_places(source, ())[0]


def _read_places(source: SourceSlice, places: tuple[Place, ...]) -> tuple[bytes, bytes]:
    """Reads the header of a file and the bytes at some places, opening it once.

    With places, the header of a multi-frame file is read but not returned: it is long,
    and belongs to all frames.
    """
    end = max([source.file.header_bytes, *(sum(place) for place in places)])
    try:
        with open_entry(source.file.entry) as (opened, version):
            file = complete(opened) if source.file.bare else opened
            file = inflate(file, end) if source.file.deflated else file
            header = file.read(source.file.header_bytes)
            parts = []
            for start, length in places:
                file.seek(start)
                parts.append(file.read(length))
    except OSError as error:
        raise CtKerasError("CTK-E005", f"cannot read file #{source.number}") from error
    data = b"".join(parts)
    expected = sum(length for _, length in places)
    if len(data) < expected:
        raise truncated(source.number, len(data), expected)
    same_header = digest(header) == source.file.header_digest
    if version != source.file.version or not same_header:
        raise CtKerasError(
            "CTK-E005",
            f"file #{source.number} has changed since it was scanned",
            fix="wait until the folder is complete, and start again",
        )
    return b"" if places and source.file.multi_frame else header, data


def stored_to_hu(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Returns HU as float32 for stored values of any shape.

    Computed in float64 where float32 cannot represent every step exactly.
    """
    whole = slope == int(slope) and intercept == int(intercept)
    if whole and abs(slope) <= 64 and abs(intercept) < 2**20:
        hu = stored.astype(np.float32)
        if slope != 1:
            hu *= np.float32(slope)
        hu += np.float32(intercept)
        return hu
    return (stored.astype(np.float64) * slope + intercept).astype(np.float32)


def find_padding(
    stored: np.ndarray, hu: np.ndarray, padding: tuple[int, int] | None
) -> np.ndarray:
    """Finds the pixels that hold no measurement.

    These are tagged pixels, untagged pixels below -1100 HU with the same value as a
    corner of the image, and those below -1500 HU outside the circle inscribed in it:
    noise in air hardly reaches so low.

    Args:
        stored: Stored values, (rows, columns).
        hu: The same in HU.
        padding: Lowest and highest stored value of tagged padding, or None.

    Returns:
        bool of shape (rows, columns).
    """
    mask = np.zeros(stored.shape, bool)
    if padding is not None:
        low, high = padding
        mask |= (stored >= low) & (stored <= high)
    thin = hu < PADDING_HU
    thin &= ~mask
    if thin.any():
        mask |= thin & (hu < NO_MEASUREMENT_HU) & outside_circle(*stored.shape)
        corners = stored[[0, 0, -1, -1], [0, -1, 0, -1]]
        for value in np.unique(corners):
            mask |= thin & (stored == value)
    return mask


@functools.lru_cache(maxsize=4)
def outside_circle(rows: int, columns: int) -> np.ndarray:
    """Returns bool (rows, columns), True outside the inscribed circle."""
    y = np.arange(rows)[:, None] - (rows - 1) / 2
    x = np.arange(columns) - (columns - 1) / 2
    mask = y * y + x * x > (min(rows, columns) / 2 - 1) ** 2
    mask.flags.writeable = False
    return mask


def read_pixels(source: SourceSlice) -> SlicePixels:
    """Reads one slice: stored values, HU, padding mask and header."""
    stored, header = read_stored(source)
    hu = stored_to_hu(stored, source.slope, source.intercept)
    return SlicePixels(stored, hu, find_padding(stored, hu, source.padding), header)
