"""Denoising methods: HU in, HU out.

Names are loaded on first use: most methods do not need Keras.
"""

from __future__ import annotations

from ct_keras.lazy import lazy_names

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
__getattr__, __dir__ = lazy_names(__name__, _NAMES)
