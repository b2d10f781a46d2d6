"""CT in files that are not DICOM: NIfTI, NRRD, MetaImage, NumPy arrays, TIFF and PNG.

A scan from such a file can be used like a series, and what is made of it is written
back in the same format, with the same geometry and pixel format.
"""

from __future__ import annotations

from ct_keras.lazy import lazy_names

_NAMES = {
    "GreyValues": "ct_keras.containers.grey_values",
    "VolumePlace": "ct_keras.containers.slices",
    "VolumeSlice": "ct_keras.containers.slices",
    "VolumeFile": "ct_keras.containers.volume",
    "VolumeWriter": "ct_keras.containers.writer",
    "find_volume_files": "ct_keras.containers.slices",
    "slices_of": "ct_keras.containers.slices",
    "find_scans": "ct_keras.containers.volume",
    "check_output_file": "ct_keras.containers.writer",
    "format_of": "ct_keras.containers.formats",
    "is_volume_file": "ct_keras.containers.formats",
    "open_writer": "ct_keras.containers.writer",
    "read_scan": "ct_keras.containers.volume",
    "read_volume_file": "ct_keras.containers.volume",
}

__all__ = sorted(_NAMES)
__getattr__, __dir__ = lazy_names(__name__, _NAMES)
