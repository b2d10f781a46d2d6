"""Application of trained networks: denoising of DICOM series, and export."""

from ct_keras.serving.formats import export
from ct_keras.serving.publish import publish, rewrap
from ct_keras.serving.savedmodel import export_savedmodel

__all__ = [
    "export",
    "export_savedmodel",
    "publish",
    "rewrap",
]
