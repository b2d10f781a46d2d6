"""Decoders of compressed pixels: one for each transfer syntax, always the same.

pydicom by itself takes the first decoder that is installed and goes on to the next if
one fails, so that the same file may give other pixels elsewhere.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import metadata

import numpy as np
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from ct_keras.codecs.codestream import (
    Codestream,
    ends_frame,
    is_irreversible,
    is_near_lossless,
    read_jpeg,
    read_jpeg_2000,
)
from ct_keras.codecs.jpeg import TWELVE_BIT_JPEG, decode_jpeg
from ct_keras.codecs.process import (
    TIME_LIMIT_S,
    DecodingError,
    decode_apart,
)
from ct_keras.errors import CtKerasError

#: PackBits turns two bytes into at most 128.
_RLE_EXPANSION = 64


@dataclass(frozen=True)
class Decoder:
    """A decoder.

    Attributes:
        plugin: Its name in pydicom.
        package: The package that holds it.
    """

    plugin: str
    package: str


_GDCM = Decoder("gdcm", "python-gdcm")
_JPEG_LS = Decoder("pyjpegls", "pyjpegls")
_OPENJPEG = Decoder("pylibjpeg", "pylibjpeg-openjpeg")
# Slower than that of pylibjpeg-rle, which ends in a panic on damaged data.
_RLE = Decoder("pydicom", "pydicom")
DECODERS = {
    uid.RLELossless: _RLE,
    **dict.fromkeys(TWELVE_BIT_JPEG, _GDCM),
    uid.JPEGLossless: _GDCM,
    uid.JPEGLosslessSV1: _GDCM,
    uid.JPEGLSLossless: _JPEG_LS,
    uid.JPEGLSNearLossless: _JPEG_LS,
    uid.JPEG2000Lossless: _OPENJPEG,
    uid.JPEG2000: _OPENJPEG,
    uid.HTJ2KLossless: _OPENJPEG,
    uid.HTJ2KLosslessRPCL: _OPENJPEG,
    uid.HTJ2K: _OPENJPEG,
}
#: Syntaxes of images that lost information when they were compressed, and the name of
#: the method: LossyImageCompressionMethod, PS3.3, C.7.6.1.1.5.1.
LOSSY_METHODS = {
    **dict.fromkeys(TWELVE_BIT_JPEG, "ISO_10918_1"),
    uid.JPEGLSNearLossless: "ISO_14495_1",
    uid.JPEG2000: "ISO_15444_1",
    uid.HTJ2K: "ISO_15444_15",
}
#: Syntaxes of JPEG 2000 for lossless images -> that for the same with losses.
_REVERSIBLE = {
    uid.JPEG2000Lossless: uid.JPEG2000,
    uid.HTJ2KLossless: uid.HTJ2K,
    uid.HTJ2KLosslessRPCL: uid.HTJ2K,
}
_JPEG_2000 = frozenset(name for name, used in DECODERS.items() if used is _OPENJPEG)


def lossy_method(syntax: str, start: bytes) -> str | None:
    """Returns how an image was lossy-compressed: LossyImageCompressionMethod.

    Args:
        syntax: A transfer syntax.
        start: The first bytes of a frame: some are lossy, and declared as lossless.

    Returns:
        None if pixels have the values that they had before they were compressed.
    """
    if syntax == uid.JPEGLSLossless and is_near_lossless(start):
        syntax = uid.JPEGLSNearLossless
    elif syntax in _REVERSIBLE and is_irreversible(start):
        syntax = _REVERSIBLE[syntax]
    return LOSSY_METHODS.get(syntax)


def has_decoder(syntax: str) -> bool:
    """Whether the decoder of a compressed transfer syntax is installed."""
    decoder = DECODERS.get(syntax)
    if syntax in TWELVE_BIT_JPEG:
        syntax = uid.JPEGLossless  # of the same package
    return decoder is not None and decoder.plugin in _available(syntax)


@functools.cache
def _available(syntax: str) -> tuple[str, ...]:
    return get_decoder(syntax).available_plugins


@functools.cache
def decoder_name(syntax: str) -> str | None:
    """Returns the package that decodes a transfer syntax and its version.

    None if pixels of this syntax are not compressed.
    """
    if syntax not in DECODERS:
        return None
    package = DECODERS[syntax].package
    return f"{package} {metadata.version(package)}"


def decode_frame(
    data: bytes,
    syntax: str,
    shape: tuple[int, int],
    *,
    bits_stored: int,
    signed: bool,
    file_number: int,
) -> np.ndarray:
    """Decodes one frame.

    Args:
        data: The compressed frame.
        syntax: Its transfer syntax, a key of `DECODERS`.
        shape: (rows, columns) by the header.
        bits_stored: Bits of a value by the header.
        signed: Whether values are two's complement by the header.
        file_number: The file, for messages.

    Returns:
        int16 or uint16, (rows, columns); bits above `bits_stored` may hold anything.

    Raises:
        CtKerasError: CTK-E003, if the frame is cut; CTK-E041 or E043, if it is not the
            image that the header describes; CTK-E012 or E013, if it cannot be decoded.
    """
    found = None
    if syntax == uid.RLELossless:
        _check_expansion(data, shape, file_number)
    else:
        found = read_jpeg_2000(data) if syntax in _JPEG_2000 else read_jpeg(data)
        _check_codestream(found, shape, bits_stored, signed, file_number)
        if syntax not in _JPEG_2000 and not ends_frame(data):
            raise _damaged("CTK-E003", f"file #{file_number} has a cut image")
    options = {
        "syntax": str(syntax),
        "rows": shape[0],
        "columns": shape[1],
        "bits_stored": bits_stored,
        "pixel_representation": int(signed),
    }
    decoded = _decode(data, options, file_number)
    if found is not None and found.signed and not signed:
        _check_sign(decoded, found.precision, file_number)
    return decoded.view(np.int16 if signed else np.uint16)


def _decode(data: bytes, options: dict, file_number: int) -> np.ndarray:
    """Decodes in this process what Python decodes, all else in another one."""
    decode = decode_here if options["syntax"] == uid.RLELossless else decode_apart
    try:
        pixels = decode(data, options)
    except Exception as error:  # decoders raise many types for damaged data
        if isinstance(error, DecodingError) and error.stalled:
            raise _damaged(
                "CTK-E012",
                f"file #{file_number}: decoding took more than {TIME_LIMIT_S:g} s",
            ) from error
        text = f"file #{file_number} cannot be decoded: its image is damaged"
        raise _damaged("CTK-E013", text) from error
    return np.frombuffer(pixels, np.uint16).reshape(options["rows"], -1)


def decode_here(data: bytes, options: dict) -> bytes:
    """Decodes one frame in this process.

    Args:
        data: The compressed frame.
        options: syntax, rows, columns, bits_stored and pixel_representation.

    Returns:
        The pixels, 16 bits each.
    """
    syntax = options["syntax"]
    if syntax in TWELVE_BIT_JPEG:
        return decode_jpeg(data, options)
    described = {name: value for name, value in options.items() if name != "syntax"}
    decoded, _ = get_decoder(syntax).as_array(
        encapsulate([data], has_bot=False),
        index=0,
        decoding_plugin=DECODERS[syntax].plugin,
        number_of_frames=1,
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        bits_allocated=16,
        pixel_keyword="PixelData",
        **described,
    )
    return decoded.astype(decoded.dtype.newbyteorder("="), copy=False).tobytes()


def _check_sign(decoded: np.ndarray, precision: int, file_number: int) -> None:
    """Refuses negative values where the header says that there are none."""
    if (decoded >> (precision - 1) & 1).any():
        raise CtKerasError(
            "CTK-E043",
            "compressed values are signed, header says unsigned",
            received=f"file #{file_number}",
        )


def _check_expansion(data: bytes, shape: tuple[int, int], file_number: int) -> None:
    expected = shape[0] * shape[1] * 2
    if expected > _RLE_EXPANSION * len(data):
        raise CtKerasError(
            "CTK-E041",
            f"file #{file_number}: {len(data)} bytes of RLE cannot hold {expected}",
            fix="copy the series again from its source",
        )


def _check_codestream(
    found: Codestream | None,
    shape: tuple[int, int],
    bits_stored: int,
    signed: bool,
    file_number: int,
) -> None:
    if found is None:
        text = f"file #{file_number} cannot be decoded: its image has no size"
        raise _damaged("CTK-E013", text)
    if (found.rows, found.columns) != shape or found.components != 1:
        samples = "" if found.components == 1 else f"x{found.components}"
        raise CtKerasError(
            "CTK-E043",
            f"compressed frame is {found.rows}x{found.columns}{samples}, header says "
            "{}x{}".format(*shape),
            received=f"file #{file_number}",
        )
    # Values with fewer bits than the header says: the place of the sign is unknown.
    unclear = found.precision < bits_stored and signed and not found.signed
    if found.precision > 16 or unclear:
        raise CtKerasError(
            "CTK-E043",
            f"compressed values have {found.precision} bits, header says {bits_stored}",
            received=f"file #{file_number}",
        )


def _damaged(code: str, text: str) -> CtKerasError:
    return CtKerasError(code, text, fix="copy the series again from its source")
