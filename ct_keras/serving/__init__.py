"""Trained networks at work: HU in, HU out, series in, series out, export."""

from ct_keras.serving.api import denoise, export
from ct_keras.serving.denoiser import Denoiser, Identity
from ct_keras.serving.loading import DEFAULT_MODEL, list_published, load, read_card
from ct_keras.serving.publish import publish
from ct_keras.serving.savedmodel import export_savedmodel

__all__ = [
    "DEFAULT_MODEL",
    "Denoiser",
    "Identity",
    "denoise",
    "export",
    "export_savedmodel",
    "list_published",
    "load",
    "publish",
    "read_card",
]
