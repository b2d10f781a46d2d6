"""Application of trained networks: denoising of DICOM series, and export.

Names are loaded on first use: a filter denoises a series without Keras.
"""

from __future__ import annotations

from ct_keras.lazy import lazy_names

_NAMES = {
    "complete_card": "ct_keras.serving.publishing",
    "export": "ct_keras.serving.formats",
    "export_savedmodel": "ct_keras.serving.savedmodel",
    "history_of": "ct_keras.serving.publishing",
    "publish": "ct_keras.serving.publishing",
    "quote_again": "ct_keras.serving.publishing",
    "rewrap": "ct_keras.serving.publishing",
}

__all__ = sorted(_NAMES)
__getattr__, __dir__ = lazy_names(__name__, _NAMES)
