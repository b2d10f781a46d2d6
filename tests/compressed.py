"""Compressed frames, made by the encoders of pydicom."""

import numpy as np
from pydicom.pixels import get_encoder


def encode(image: np.ndarray, syntax: str, bits_stored: int, **options) -> bytes:
    """One compressed frame by an encoder of pydicom."""
    return get_encoder(syntax).encode(
        image,
        rows=image.shape[0],
        columns=image.shape[1],
        number_of_frames=1,
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        bits_allocated=16,
        bits_stored=bits_stored,
        pixel_representation=int(image.dtype.kind == "i"),
        **options,
    )
