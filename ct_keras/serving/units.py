"""How exports and cards name the values that a model takes and returns."""

from __future__ import annotations

from ct_keras.denoising.denoiser import Denoiser

PICTURE_UNITS = "grey values of pictures, 4096 value / 2**bits - 1024"


def units_of(denoiser: Denoiser) -> str:
    """Returns "HU", or for a network that was trained on pictures what it takes."""
    return PICTURE_UNITS if "picture" in denoiser.scales else "HU"
