"""Application of trained networks: denoising of DICOM series, and export.

Names are loaded on first use: a filter denoises a series without Keras.
"""

from __future__ import annotations

import importlib

_NAMES = {
    "export": "ct_keras.serving.formats",
    "export_savedmodel": "ct_keras.serving.savedmodel",
    "publish": "ct_keras.serving.publishing",
    "rewrap": "ct_keras.serving.publishing",
}

__all__ = sorted(_NAMES)


def __getattr__(name: str):
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'ct_keras.serving' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
