"""Conversion of DICOM or pictures to TFRecords, and training batches from TFRecords.

Names are loaded on first use: the worker processes of `convert` import this package
too, and importing TensorFlow would take each of them seconds.
"""

from __future__ import annotations

from ct_keras.lazy import lazy_names

_NAMES = {
    "LAYOUTS": "ct_keras.data.conversion.layouts",
    "Manifest": "ct_keras.data.manifest",
    "SlicePair": "ct_keras.data.reading",
    "convert": "ct_keras.data.conversion.convert",
    "count_slices": "ct_keras.data.manifest",
    "iterate_pairs": "ct_keras.data.reading",
    "pair_series": "ct_keras.data.conversion.pairing",
    "read_manifest": "ct_keras.data.manifest",
    "slices": "ct_keras.data.datasets",
    "steps_per_pass": "ct_keras.data.datasets",
    "training_patches": "ct_keras.data.datasets",
    "resample_volume": "ct_keras.data.resampling",
    "training_ranges": "ct_keras.data.ranges",
    "training_volumes": "ct_keras.data.volumes",
    "verify": "ct_keras.data.reading",
}

__all__ = sorted(_NAMES)
__getattr__, __dir__ = lazy_names(__name__, _NAMES)
