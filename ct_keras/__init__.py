"""ct_keras: low-dose CT denoising with Keras.

Hounsfield units at every boundary. Research use only. Not for diagnostic use.

Importing the package is fast: names are loaded on first use, and TensorFlow only by the
names that need it.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

#: Public name -> the module that defines it.
_NAMES = {
    "CtKerasError": "ct_keras.errors",
    "Denoiser": "ct_keras.denoising",
    "Series": "ct_keras.dicom",
    "denoise": "ct_keras.denoising",
    "evaluate": "ct_keras.metrics",
    "export": "ct_keras.serving",
    "find_series": "ct_keras.dicom",
    "load": "ct_keras.denoising",
    "read_series": "ct_keras.dicom",
    "simulate_dose": "ct_keras.simulation",
    "write_series": "ct_keras.dicom",
}
_ROOMS = (
    "data",
    "denoising",
    "dicom",
    "errors",
    "evaluation",
    "filters",
    "hu",
    "image_quality",
    "losses",
    "metrics",
    "models",
    "phantoms",
    "pipelines",
    "reader_study",
    "reconstruction",
    "report",
    "serving",
    "simulation",
    "tasks",
    "training",
)

__all__ = sorted([*_NAMES, *_ROOMS, "__version__"])


def __getattr__(name: str):
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"ct_keras.{name}")
    raise AttributeError(f"module 'ct_keras' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
