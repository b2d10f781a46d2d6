"""Compressed pixels: what a frame says of itself, and the decoders that read it."""

from ct_keras.codecs import gdcm_first  # noqa: F401 - before pydicom
from ct_keras.codecs.codestream import starts_frame
from ct_keras.codecs.decoders import (
    DECODERS,
    decode_frame,
    decoder_name,
    has_decoder,
    lossy_method,
)

__all__ = [
    "DECODERS",
    "decode_frame",
    "decoder_name",
    "has_decoder",
    "lossy_method",
    "starts_frame",
]
