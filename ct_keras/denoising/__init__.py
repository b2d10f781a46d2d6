"""Denoising methods: HU in, HU out.

Names are loaded on first use: most methods do not need Keras.
"""

from __future__ import annotations

import importlib

_NAMES = {
    "DEFAULT_MODEL": "ct_keras.denoising.loading",
    "Denoiser": "ct_keras.denoising.denoiser",
    "Identity": "ct_keras.denoising.method",
    "Method": "ct_keras.denoising.method",
    "as_method": "ct_keras.denoising.methods",
    "denoise": "ct_keras.denoising.api",
    "list_published": "ct_keras.denoising.loading",
    "load": "ct_keras.denoising.loading",
    "read_card": "ct_keras.denoising.loading",
    "strength_like_dose": "ct_keras.denoising.method",
}

__all__ = sorted(_NAMES)


def __getattr__(name: str):
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'ct_keras.denoising' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
