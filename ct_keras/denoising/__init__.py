"""A method that denoises: HU in, HU out."""

from ct_keras.denoising.api import denoise
from ct_keras.denoising.denoiser import Denoiser, Identity
from ct_keras.denoising.loading import DEFAULT_MODEL, list_published, load, read_card

__all__ = [
    "DEFAULT_MODEL",
    "Denoiser",
    "Identity",
    "denoise",
    "list_published",
    "load",
    "read_card",
]
