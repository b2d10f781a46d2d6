"""Trained networks at work: series in, series out, export."""

from ct_keras.serving.formats import export
from ct_keras.serving.publish import publish
from ct_keras.serving.savedmodel import export_savedmodel

__all__ = [
    "export",
    "export_savedmodel",
    "publish",
]
