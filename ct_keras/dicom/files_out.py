"""One DICOM file: written, and read back."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from ct_keras.dicom.values import quiet_pydicom
from ct_keras.errors import CtKerasError


def save_slice(header: Dataset, pixels: np.ndarray, path: Path) -> None:
    """Writes one file: header, then pixels, Explicit VR Little Endian."""
    header.add_new("PixelData", "OW", pixels.tobytes())
    header.save_as(
        path,
        implicit_vr=False,
        little_endian=True,
        enforce_file_format=True,
        overwrite=False,
    )


def verify_slice(
    path: Path, sop_instance_uid: str, series_uid: str, digest: str
) -> None:
    """Reads a file back and compares pixels and UIDs.

    Raises:
        CtKerasError: CTK-E074, if anything differs.
    """
    with quiet_pydicom():
        dataset = dcmread(path)
        same = (
            hashlib.sha256(dataset.PixelData).hexdigest() == digest
            and dataset.SOPInstanceUID == sop_instance_uid
            and dataset.SeriesInstanceUID == series_uid
            and dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        )
    if not same:
        raise CtKerasError(
            "CTK-E074",
            f"{path.name} does not read back as it was written",
            fix="check the disk and try again",
        )
