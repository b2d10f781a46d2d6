"""PNG with 8 or 16 bits: grey values without a scale of their own."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ct_keras.containers.formats import Content, check_voxels, one_channel
from ct_keras.errors import CtKerasError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Keyword of the text chunk that ct_keras writes.
_KEY = b"ct_keras\0"
#: Chunks that describe the pixels as cv2 writes them; all others are kept.
_OF_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"sBIT", b"bKGD", b"hIST"}
#: Bytes per sample of each kind of colour: the number of samples of a pixel.
_SAMPLES = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}


def read(path: Path) -> Content:
    """Reads one slice, uint8 or uint16."""
    data = path.read_bytes()
    chunks = list(_chunks(data))
    columns, rows, bits, colour = struct.unpack_from(">IIBB", chunks[0][1])
    kind = np.uint16 if bits == 16 else np.uint8
    check_voxels(path, (rows, columns), kind, samples=_SAMPLES[colour])
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise ValueError("damaged pixels")
    texts = [text for name, text in chunks if name == b"tEXt" and text[:9] == _KEY]
    return Content(
        one_channel(values)[None],
        scaled=False,
        derivation=texts[-1][len(_KEY) :].decode("latin-1") if texts else None,
        original=(values.shape[2:], [each for each in chunks if _kept(each)]),
    )


def write(path: Path, content: Content, stored: np.ndarray, derivation: str) -> None:
    """Writes the values with the chunks of the original that are not of its pixels."""
    channels, kept = content.original
    pixels = stored[0]
    if channels:
        pixels = np.repeat(pixels[..., None], channels[0], axis=2)
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise CtKerasError("CTK-E073", "the picture cannot be encoded")
    head, *rest = _chunks(data.tobytes())
    note = (b"tEXt", _KEY + derivation.encode("ascii"))
    path.write_bytes(_SIGNATURE + b"".join(map(_chunk, [head, *kept, note, *rest])))


def _kept(chunk: tuple[bytes, bytes]) -> bool:
    name, content = chunk
    return name not in _OF_PIXELS and not content.startswith(_KEY)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the name and the content of each chunk of a PNG file."""
    if not data.startswith(_SIGNATURE):
        raise ValueError("not a PNG file")
    place = len(_SIGNATURE)
    while place < len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + length]
        (check,) = struct.unpack_from(">I", data, place + 8 + length)
        if check != zlib.crc32(name + content):
            raise ValueError("damaged chunk")
        yield name, content
        place += length + 12


def _chunk(chunk: tuple[bytes, bytes]) -> bytes:
    name, content = chunk
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check
