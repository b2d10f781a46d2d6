"""What compressed frames say of themselves, and which decoder reads them."""

import struct
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

from ct_keras.codecs import DECODERS, decode_frame, decoder_name, has_decoder
from ct_keras.codecs.codestream import (
    Codestream,
    ends_frame,
    read_jpeg,
    read_jpeg_2000,
    starts_frame,
)
from ct_keras.errors import CtKerasError


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
