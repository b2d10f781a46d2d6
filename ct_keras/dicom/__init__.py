"""CT series in and out: DICOM files to Hounsfield units and back."""

from ct_keras import codecs  # noqa: F401 - GDCM is imported before pydicom
from ct_keras.dicom.create import create_series
from ct_keras.dicom.finder import Refusal, Scan, find_series, read_series, scan_folder
from ct_keras.dicom.geometry import require_volume
from ct_keras.dicom.pixels import SlicePixels
from ct_keras.dicom.provenance import Derivation
from ct_keras.dicom.series import Series
from ct_keras.dicom.sources import SourceSlice
from ct_keras.dicom.writer import SeriesWriter, write_series
from ct_keras.inputs import Limits, ReadOptions

__all__ = [
    "Derivation",
    "Limits",
    "ReadOptions",
    "Refusal",
    "Scan",
    "Series",
    "SeriesWriter",
    "SlicePixels",
    "SourceSlice",
    "create_series",
    "find_series",
    "read_series",
    "require_volume",
    "scan_folder",
    "write_series",
]
