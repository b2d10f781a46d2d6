"""New CT series from synthetic images, such as phantoms."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from ct_keras import __version__
from ct_keras.dicom.checks import CT_IMAGE
from ct_keras.dicom.derived_header import file_meta
from ct_keras.dicom.provenance import NOT_DIAGNOSTIC, content_uid, now
from ct_keras.dicom.sources import EQUIPMENT_NAME
from ct_keras.dicom.values import quiet_pydicom
from ct_keras.dicom.writer import save_file, verify_file
from ct_keras.errors import CtKerasError
from ct_keras.files import atomic_folder
from ct_keras.hu import to_stored

_LOWEST, _HIGHEST = -(2**15), 2**15 - 1


def create_series(
    hu: np.ndarray,
    spacing_mm: Sequence[float],
    out: str | os.PathLike,
    *,
    patient_id: str,
    series_description: str,
    patient_name: str | None = None,
    kernel: str | None = None,
    kvp: float = 120,
    exposure_mas: float | None = None,
    body_part: str | None = None,
    intercept: float = -1024,
    series_number: int = 1,
    seed_uid: str = "",
    overwrite: bool = False,
) -> None:
    """Writes synthetic images as a CT series that readers and validators accept.

    ImageType, Manufacturer, ImageComments and SyntheticData mark the series as
    synthetic. Series with the same `patient_id` and `seed_uid` share a study and a
    frame of reference. Slices are ordered from feet to head.

    Args:
        hu: (slices, rows, columns) in HU.
        spacing_mm: (slice, row, column) in mm.
        out: A new or empty folder; files are IM00001.dcm and so on.
        patient_id: PatientID.
        series_description: SeriesDescription, at most 64 characters.
        patient_name: PatientName; ``PHANTOM^0007`` by default for ``PHANTOM-0007``.
        kernel: ConvolutionKernel.
        kvp: Tube voltage in kV.
        exposure_mas: Tube current times exposure time in mAs, or None.
        body_part: BodyPartExamined, such as ``CHEST``.
        intercept: RescaleIntercept; the slope is 1.
        series_number: SeriesNumber.
        seed_uid: Text from which all UIDs are derived.
        overwrite: Replace a folder that has content.

    Raises:
        CtKerasError: CTK-E000, wrong shape; CTK-E044, values that do not fit int16;
            CTK-E070, values that are not finite; CTK-E071 or E073, if the series cannot
            be written.
    """
    hu = np.asarray(hu)
    if hu.ndim != 3 or min(hu.shape[1:]) < 2 or not len(hu) or len(spacing_mm) != 3:
        raise CtKerasError(
            "CTK-E000",
            "a series needs slices, rows and columns, and one spacing for each",
            received=f"shape {hu.shape}, {len(spacing_mm)} spacings",
        )
    digests = [_digest(index, image, intercept) for index, image in enumerate(hu)]
    whole = hashlib.sha256("".join(digests).encode()).hexdigest()
    study = content_uid("study", seed_uid, patient_id)
    series = content_uid("series", study, series_description, whole)
    common = Dataset()
    common.StudyInstanceUID, common.SeriesInstanceUID = study, series
    common.FrameOfReferenceUID = content_uid("frame of reference", study)
    name = patient_name or f"PHANTOM^{patient_id.removeprefix('PHANTOM-')}"
    _add_patient(common, patient_id, name)
    _add_study(common, series_description[:64], series_number)
    _add_acquisition(common, kernel, kvp, exposure_mas, body_part)
    _add_pixel_format(common, hu.shape[1:], intercept)
    making = atomic_folder(out, overwrite=overwrite, kind="series")
    with making as folder, quiet_pydicom():
        for index, image in enumerate(hu):
            header = copy.deepcopy(common)
            header.SOPInstanceUID = content_uid("instance", series, str(index))
            _add_plane(header, index, [float(step) for step in spacing_mm])
            header.file_meta = file_meta(header.SOPInstanceUID)
            header.preamble = b"\0" * 128
            path = folder / f"IM{index + 1:05d}.dcm"
            save_file(header, [_stored(index, image, intercept)], 1, path)
            verify_file(path, header.SOPInstanceUID, series, [digests[index]])


def _stored(slice_index: int, hu: np.ndarray, intercept: float) -> np.ndarray:
    """Returns one slice as stored values, little-endian int16."""
    if not np.isfinite(hu).all():
        raise CtKerasError("CTK-E070", f"slice {slice_index + 1} is not finite")
    stored = to_stored(hu, 1.0, intercept)
    if stored.min() < _LOWEST or stored.max() > _HIGHEST:
        raise CtKerasError(
            "CTK-E044",
            f"slice {slice_index + 1}: values do not fit 16 bits",
            received=f"{float(hu.min()):g}..{float(hu.max()):g} HU",
        )
    return stored.astype("<i2")


def _digest(slice_index: int, hu: np.ndarray, intercept: float) -> str:
    stored = _stored(slice_index, hu, intercept)
    return hashlib.sha256(stored.tobytes()).hexdigest()


def _add_patient(dataset: Dataset, patient_id: str, patient_name: str) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = patient_name
    dataset.PatientID = patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""


def _add_study(dataset: Dataset, description: str, series_number: int) -> None:
    dataset.SOPClassUID = CT_IMAGE
    dataset.PositionReferenceIndicator = ""
    dataset.StudyDescription = "SYNTHETIC PHANTOM"
    dataset.StudyID = "1"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber = series_number
    dataset.SeriesDescription = description
    moment = now()
    for event in ("Study", "Series", "Content", "InstanceCreation"):
        setattr(dataset, f"{event}Date", moment.strftime("%Y%m%d"))
        setattr(dataset, f"{event}Time", moment.strftime("%H%M%S"))


def _add_acquisition(
    dataset: Dataset,
    kernel: str | None,
    kvp: float,
    exposure_mas: float | None,
    body_part: str | None,
) -> None:
    dataset.Modality = "CT"
    # SECONDARY: created after the examination, here by a program.
    dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    dataset.SyntheticData = "YES"
    dataset.DerivationDescription = f"Computed phantom; ct_keras {__version__}"
    dataset.ImageComments = f"SYNTHETIC PHANTOM. {NOT_DIAGNOSTIC}."
    dataset.Manufacturer = EQUIPMENT_NAME
    dataset.ManufacturerModelName = "phantom"
    dataset.SoftwareVersions = __version__
    dataset.PatientPosition = "HFS"
    dataset.AcquisitionNumber = 1
    dataset.KVP = f"{kvp:g}"
    if body_part:
        dataset.BodyPartExamined = body_part
    if kernel:
        dataset.ConvolutionKernel = kernel
    if exposure_mas:
        current = max(1, round(exposure_mas))
        dataset.XRayTubeCurrent = current
        dataset.ExposureTime = round(1000 * exposure_mas / current)
        dataset.Exposure = current


def _add_plane(dataset: Dataset, slice_index: int, spacing_mm: Sequence[float]) -> None:
    slice_mm, row_mm, column_mm = spacing_mm
    rows, columns = dataset.Rows, dataset.Columns
    corner = (-(columns - 1) / 2 * column_mm, -(rows - 1) / 2 * row_mm)
    height = slice_index * slice_mm
    dataset.InstanceNumber = slice_index + 1
    dataset.ImagePositionPatient = [_decimal(value) for value in (*corner, height)]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.SliceLocation = _decimal(height)
    dataset.SliceThickness = _decimal(slice_mm)
    dataset.PixelSpacing = [_decimal(row_mm), _decimal(column_mm)]
    dataset.ReconstructionDiameter = _decimal(max(rows * row_mm, columns * column_mm))


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters."""
    return f"{value:.10g}" if abs(value) < 1e5 else f"{value:.6g}"


def _add_pixel_format(
    dataset: Dataset, shape: tuple[int, int], intercept: float
) -> None:
    dataset.Rows, dataset.Columns = shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 16
    dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    dataset.RescaleIntercept = f"{intercept:g}"
    dataset.RescaleSlope = "1"
    dataset.RescaleType = "HU"
    dataset.WindowCenter = "40"
    dataset.WindowWidth = "400"
    dataset.LossyImageCompression = "00"
    dataset.BurnedInAnnotation = "NO"
