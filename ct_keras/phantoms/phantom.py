"""Random anatomical phantoms: synthetic patients of known tissue, one per seed."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.files import check_output_folder
from ct_keras.hu import FLOOR_HU
from ct_keras.phantoms.anatomy import draw_patient
from ct_keras.phantoms.lesions import Lesion, add_lesions
from ct_keras.phantoms.painter import BLUR_MM, Painter
from ct_keras.phantoms.tissues import LABELS
from ct_keras.progress import track
from ct_keras.simulation.dose import DoseSimulator
from ct_keras.simulation.kernels import kernel_by_name
from ct_keras.simulation.photons import electronic_noise

__all__ = [
    "LABELS",
    "REGIONS",
    "Lesion",
    "Phantom",
    "make_phantom",
    "phantom_scanner",
    "write_phantom",
]

#: Region -> height of the middle of the volume above the diaphragm, mm.
REGIONS = {"thorax": 46.0, "abdomen": -80.0}
#: Region -> BodyPartExamined.
BODY_PARTS = {"thorax": "CHEST", "abdomen": "ABDOMEN"}
FIELD_OF_VIEW_MM = 400.0
SLICE_MM = 5.0
KERNEL_TAG = "B30f"
EXPOSURE_MAS = 200.0
_PHOTONS = 8e5  # incident per ray at normal dose, for slices of 5 mm


@dataclass(frozen=True, eq=False)
class Phantom:
    """One synthetic patient.

    Attributes:
        hu: float32 (slices, rows, columns) without noise; slices from feet to head,
            rows from front to back, columns from the patient's right to the left.
        labels: uint8 of the same shape, the tissue at each voxel centre; see `LABELS`.
        spacing_mm: Slice, row and column spacing.
        region: ``thorax`` or ``abdomen``.
        seed: Seed of the patient.
        lesions: Position, size and contrast of the lesions.
        enhanced: Whether the patient was given iodine.
        mean_hu: Tissue name -> HU of this patient's tissue, before texture.
    """

    hu: np.ndarray
    labels: np.ndarray
    spacing_mm: tuple[float, float, float]
    region: str
    seed: int
    lesions: tuple[Lesion, ...]
    enhanced: bool
    mean_hu: dict[str, float]


def make_phantom(
    seed: int,
    *,
    region: str = "thorax",
    shape: tuple[int, int, int] = (16, 512, 512),
    spacing_mm: tuple[float, float, float] | None = None,
    lesions: bool = True,
) -> Phantom:
    """Makes a random patient with realistic Hounsfield units and exact labels.

    The patient (size, fat, contrast medium, organs, deformation) depends on the seed
    alone, so both regions of a seed show the same person. The model extends from the
    lower kidneys to the upper chest, about 100 mm around the middle of either region,
    without arms, shoulders and pelvis.

    Args:
        seed: Any whole number >= 0; each gives a different patient.
        region: ``thorax`` or ``abdomen``.
        shape: Slices, rows and columns.
        spacing_mm: Slice, row and column spacing; by default 5 mm slices and a field
            of view of 400 mm.
        lesions: Whether lesions are added to liver and lungs. Voxels outside the
            lesions do not depend on it.

    Returns:
        The phantom, without noise.

    Raises:
        CtKerasError: CTK-E000 for an unknown region or an invalid shape, spacing or
            seed.

    Example:
        >>> phantom = make_phantom(1, region="abdomen", shape=(2, 64, 64))
        >>> phantom.hu.shape, phantom.labels.dtype.name
        ((2, 64, 64), 'uint8')
    """
    spacing_mm = _check(seed, region, shape, spacing_mm)
    patient = draw_patient(seed)
    number = list(REGIONS).index(region)
    painter = Painter(
        patient,
        shape,
        spacing_mm=spacing_mm,
        middle_mm=REGIONS[region],
        texture_seed=[seed, 3, number],
    )
    hu, labels = np.empty(shape, np.float32), np.empty(shape, np.uint8)
    for index in range(shape[0]):
        hu[index], labels[index] = painter.paint_next(index)
    found: tuple[Lesion, ...] = ()
    if lesions:
        found = add_lesions(
            hu,
            labels,
            spacing_mm,
            blur_mm=BLUR_MM,
            rng=np.random.default_rng([seed, 4, number]),
        )
    return Phantom(
        hu, labels, spacing_mm, region, seed, found, patient.enhanced, dict(patient.hu)
    )


def write_phantom(
    phantom: Phantom,
    out: str | os.PathLike,
    *,
    noise: bool = True,
    kernel: str = KERNEL_TAG,
    overwrite: bool = False,
    progress: bool = False,
) -> None:
    """Writes a phantom as a CT series in DICOM.

    Args:
        phantom: Result of `make_phantom`.
        out: A new or empty folder.
        noise: Whether the noise of a normal-dose scan is added (8 to 12 HU standard
            deviation in the liver at 5 mm, more in thinner slices), so that it looks
            like a real scan. If False, the noise-free object is written.
        kernel: ConvolutionKernel as a scanner names it, such as B30f or D45f. It sets
            the noise texture, also when a lower dose is simulated from the series.
        overwrite: Whether a folder with content is replaced.
        progress: Whether a bar is shown while noise is simulated.

    Raises:
        CtKerasError: CTK-E071 or CTK-E073, if the folder is refused or cannot be
            written.
    """
    from ct_keras.dicom import create_series

    check_output_folder(out, overwrite=overwrite, kind="series")
    what = "normal dose" if noise else "noise-free"
    create_series(
        _scanned(phantom, kernel, progress) if noise else phantom.hu,
        phantom.spacing_mm,
        out,
        patient_id=f"PHANTOM-{phantom.seed:06d}",
        series_description=f"SYNTHETIC PHANTOM {phantom.region} {what}",
        kernel=kernel,
        kvp=120,
        exposure_mas=EXPOSURE_MAS if noise else None,
        body_part=BODY_PARTS[phantom.region],
        seed_uid=f"{phantom.region} {phantom.seed}",
        overwrite=overwrite,
    )


def phantom_scanner(phantom: Phantom, kernel: str = KERNEL_TAG) -> DoseSimulator:
    """Returns a simulator that scans a phantom; a dose of 1 is the normal dose.

    Args:
        phantom: Result of `make_phantom`.
        kernel: ConvolutionKernel as a scanner names it, such as B30f or D45f.
    """
    return DoseSimulator(
        phantom.hu.shape[1:],
        phantom.spacing_mm[1:],
        kernel=kernel_by_name(kernel),
        photons=_PHOTONS * phantom.spacing_mm[0] / SLICE_MM,
        electronic_noise=electronic_noise(phantom.spacing_mm[0]),
        noise_free=True,
        floor_hu=FLOOR_HU,
    )


def _scanned(phantom: Phantom, kernel: str, progress: bool) -> np.ndarray:
    """The phantom with the noise of a normal dose, HU."""
    simulator = phantom_scanner(phantom, kernel)
    slices = track(list(phantom.hu), "Scanning", enabled=progress)
    return np.stack(
        [
            simulator.low_dose(plane, 1.0, seed=phantom.seed, slice_index=index)
            for index, plane in enumerate(slices)
        ]
    )


def _check(
    seed: int,
    region: str,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float] | None,
) -> tuple[float, float, float]:
    """Checks the arguments of `make_phantom` and returns the spacing."""
    if region not in REGIONS:
        raise CtKerasError(
            "CTK-E000",
            "unknown phantom region",
            received=region,
            expected=" or ".join(REGIONS),
        )
    if len(shape) != 3 or min(shape) < 1 or min(shape[1:]) < 16:
        raise CtKerasError(
            "CTK-E000",
            "invalid phantom shape",
            received=tuple(shape),
            expected="slices >= 1, rows and columns >= 16",
        )
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise CtKerasError(
            "CTK-E000", "invalid seed", received=seed, expected="a whole number >= 0"
        )
    if spacing_mm is None:
        pixel = FIELD_OF_VIEW_MM / max(shape[1:])
        spacing_mm = (SLICE_MM, pixel, pixel)
    if len(spacing_mm) != 3 or not all(0 < s < 100 for s in spacing_mm):
        raise CtKerasError(
            "CTK-E000",
            "invalid phantom spacing",
            received=tuple(spacing_mm),
            expected="three lengths between 0 and 100 mm",
        )
    return tuple(float(s) for s in spacing_mm)
