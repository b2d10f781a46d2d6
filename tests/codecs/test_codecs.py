"""What compressed frames say of themselves, and which decoder reads them."""

import base64
import hashlib
import struct
import sys
from importlib import metadata

import numpy as np
import pytest
from compressed import encode
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from ct_keras.codecs import (
    DECODERS,
    decode_frame,
    decoder_name,
    has_decoder,
    lossy_method,
    process,
)
from ct_keras.codecs.codestream import (
    Codestream,
    ends_frame,
    read_jpeg,
    read_jpeg_2000,
    starts_frame,
)
from ct_keras.errors import CtKerasError

#: 12-bit JPEG images of 16 x 24 pixels, made and decoded by DCMTK 3.6.7
#: (dcmcjpeg +ee and +es, +q 60; dcmdjpeg).
TWELVE_BITS = {
    "1.2.840.10008.1.2.4.51": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4p"
        "LSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQYEpRUk//wQALDAAQABgBAREA/8QAGAAAAgMAAAAA"
        "AAAAAAAAAAAABgkHCAr/xAAoEAABAwEGBgMBAAAAAAAAAAABAgMEEQAFBwgSIQYiJTEzUQkTQhT/"
        "2gAIAQEAAD8Ayy4XZW/D0/1+LMNwf+Pu9pdyRpjn88eY6lC24rjCwAkgGi1UqlQqajSdx332sBhp"
        "lWdYeSy/da23W1aVoW2QpKgaEEHsbF2F2Vvw9P8AX4syTB/gFhq5IyZvDkh6820oSSkpDbxAFVlV"
        "OUnmOkJI7b+prw6yyvTZhlyoWt+Q4XXFfWBqUo1JoBQbm3//2Q=="
    ),
    "1.2.840.10008.1.2.4.53": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4p"
        "LSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQYEpRUk//wgALDAAQABgBAREA/8QAGAAAAgMAAAAA"
        "AAAAAAAAAAAABgkHCAr/2gAIAQEAAAAAyysNsAXMkmv/xAAbEAACAwEBAQAAAAAAAAAAAAADBwQF"
        "CAAGCf/aAAgBAQABBQBXZb5P/Pu2l0i0ysUBldlvk/4EAqRdZlNNmf/EACQQAAIBAgUEAwAAAAAA"
        "AAAAAAECAwQRABIhMVEFIiVCBhMU/9oACAEBAAY/AIfH8emKask/PT1kqo8dLJA4AUgGzta6sLm4"
        "ynUb66LDP0t45Y2yujxkMrA2IIOxxD4/j0xTLW/HKibqcaopKlRHMQBdy1u0nuOUKRtrwauqos89"
        "RIZZG+sDMzG5NgLDU4//2Q=="
    ),
}
DECODED_SHA256 = "bca7ed19b2122178"


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Signed 12-bit values, more columns than rows."""
    noise = np.random.default_rng(5).integers(-2048, 2048, (32, 48))
    return noise.astype(np.int16)


def test_every_decoder_is_installed_and_named():
    for syntax, decoder in DECODERS.items():
        assert has_decoder(syntax)
        version = metadata.version(decoder.package)
        assert decoder_name(syntax) == f"{decoder.package} {version}"
    assert decoder_name(ExplicitVRLittleEndian) is None
    assert not has_decoder(JPEGBaseline8Bit)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_a_frame_that_is_not_square(image, syntax):
    frame = encode(image, syntax, 12)
    options = {"bits_stored": 12, "signed": True, "file_number": 1}
    decoded = decode_frame(frame, syntax, image.shape, **options)
    assert decoded.dtype == np.int16
    assert np.array_equal(decoded << 4 >> 4, image)
    with pytest.raises(CtKerasError, match=r"CTK-E0(13|43)"):
        decode_frame(frame, syntax, (48, 48), **options)


@pytest.mark.parametrize("syntax", list(TWELVE_BITS))
def test_jpeg_of_12_bits_is_decoded_as_by_dcmtk(syntax):
    frame = base64.b64decode(TWELVE_BITS[syntax])
    options = {"bits_stored": 12, "signed": False, "file_number": 1}
    decoded = decode_frame(frame, syntax, (16, 24), **options)
    assert decoded.dtype == np.uint16 and decoded.max() < 4096
    assert hashlib.sha256(decoded.tobytes()).hexdigest().startswith(DECODED_SHA256)
    assert lossy_method(syntax, b"") is not None
    with pytest.raises(CtKerasError, match="CTK-E003"):
        decode_frame(frame[:-40], syntax, (16, 24), **options)


def test_fewer_bits_than_the_header_says_leave_the_sign_open(image):
    frame = encode(image, JPEGLSLossless, 12)
    options = {"bits_stored": 16, "signed": True, "file_number": 3}
    with pytest.raises(CtKerasError, match=r"CTK-E043 .*12 bits, header says 16"):
        decode_frame(frame, JPEGLSLossless, image.shape, **options)


class TestCodestream:
    def test_size_of_a_jpeg(self):
        head = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xc3\x00\x0b\x0c\x00\x40\x00\x80\x01"
        assert read_jpeg(head) == Codestream(64, 128, 1, 12)
        assert read_jpeg(head[:12]) is None
        assert read_jpeg(b"\xff\xd8\xff\xe0\x00\x00") is None
        assert read_jpeg(b"") is None

    def test_size_of_jpeg_2000_in_a_jp2_file(self, image):
        bare = encode(image, JPEG2000Lossless, 12)
        expected = Codestream(32, 48, 1, 12, signed=True)
        assert read_jpeg_2000(bare) == expected
        box = struct.pack(">I4s", 12, b"jP  ") + b"\r\n\x87\n"
        wrapped = box + struct.pack(">I4s", 8 + len(bare), b"jp2c") + bare
        assert read_jpeg_2000(wrapped) == expected
        assert read_jpeg_2000(box + struct.pack(">I4s", 0, b"free") + bytes(60)) is None

    def test_start_and_end(self, image):
        for syntax in (JPEGLSLossless, JPEG2000Lossless):
            assert starts_frame(encode(image, syntax, 12))
        frame = encode(image, JPEGLSLossless, 12)
        assert ends_frame(frame) and ends_frame(frame + b"\0")
        assert not ends_frame(frame[:-3]) and not starts_frame(frame[1:])


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_the_decoding_process_has_little_memory(monkeypatch):
    """A frame may decode to 512 MiB; 2 GB would be too much for a hostile one."""
    start = process._START.replace(
        "decoders.decode_here", "lambda data, options: bytes(options['size'])"
    )
    monkeypatch.setattr(process, "_START", start)
    server = process._Server()
    try:
        assert len(server.decode(b"", {"size": 2**26})) == 2**26
        with pytest.raises(process.DecodingError):
            server.decode(b"", {"size": 2**30 + 2**27})
    finally:
        server.stop()
