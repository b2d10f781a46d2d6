"""Compressed pixels: what a frame says of itself, and the decoders that read it."""

from ct_keras.codecs import gdcm_first  # noqa: F401 - before pydicom
from ct_keras.codecs.codestream import starts_frame
from ct_keras.codecs.decoders import (
    DECODERS,
    LOSSY_METHODS,
    decode_frame,
    decoder_name,
    has_decoder,
)

__all__ = [
    "DECODERS",
    "LOSSY_METHODS",
    "decode_frame",
    "decoder_name",
    "has_decoder",
    "starts_frame",
]
