"""Properties of a slice, from the DICOM header to the evaluation row.

Layouts fill them in, records store them, and slice pairs pass them on to the
evaluation. A new property is a field of `SliceFacts` and a line in `series_facts`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from ct_keras.dicom import Series
from ct_keras.privacy.strata import (
    age_band,
    body_part,
    contrast,
    manufacturer,
    safe_kernel,
)
from ct_keras.simulation.slice_physics import SlicePhysics

#: PatientIDs that anonymisation tools write, without spaces and punctuation.
_PLACEHOLDER = re.compile(
    "(anon(ym|ymous|ymi[sz]ed)?|dei?dentified|unknown|none|null|na|noid|nopatientid|"
    "removed|redacted|deleted|0*|x*)(patient|patientid|subject|id|name)?"
)


@dataclass(frozen=True, kw_only=True)
class SliceFacts:
    """Properties of a slice; None if unknown.

    Attributes:
        case: Hash or number of the patient.
        series: Hash or number of the normal-dose series.
        slice_index: Index in the normal-dose series, from the feet.
        dose_fraction: Low dose over normal dose.
        spacing_mm: Row and column spacing.
        slice_thickness_mm: SliceThickness.
        kernel: Reconstruction kernel.
        kvp: Tube voltage in kV.
        age_band: One of `ct_keras.privacy.strata.AGE_BANDS`.
        body_part: One of `ct_keras.privacy.strata.BODY_PARTS`.
        manufacturer: One of `ct_keras.privacy.strata.MANUFACTURERS`, or "other".
        contrast: "yes", if a contrast agent is named.
        scale: "picture", if the values are grey values of a picture
            (`ct_keras.hu.picture_rescale`) and not HU.
    """

    case: str = ""
    series: str = ""
    slice_index: int = 0
    dose_fraction: float | None = None
    spacing_mm: tuple[float, float] | None = None
    slice_thickness_mm: float | None = None
    kernel: str | None = None
    kvp: float | None = None
    age_band: str | None = None
    body_part: str | None = None
    manufacturer: str | None = None
    contrast: str | None = None
    scale: str | None = None


#: The names of all properties.
FACTS = tuple(field.name for field in fields(SliceFacts))


def facts_of(slice_or_pair) -> dict[str, object]:
    """Returns every property by name; None if there is no such attribute."""
    return {name: getattr(slice_or_pair, name, None) for name in FACTS}


def series_facts(series: Series, /, **known) -> SliceFacts:
    """Returns the properties in the headers of a series, without free text.

    Args:
        series: A normal-dose series.
        **known: Other fields of `SliceFacts`.
    """
    return SliceFacts(
        spacing_mm=series.sources[0].pixel_spacing_mm,
        slice_thickness_mm=series.slice_thickness_mm or None,
        kernel=safe_kernel(series.kernel),
        kvp=series.kvp,
        age_band=age_band(series.patient_age_years),
        body_part=body_part(series.body_part),
        manufacturer=manufacturer(series.manufacturer),
        contrast=contrast(series.contrast_agent),
        **known,
    )


def patient_of(series: Series, otherwise: str) -> str:
    """Returns the PatientID, or `otherwise` if anonymisation removed it.

    Args:
        series: A series of the patient.
        otherwise: Identifies the patient in that case, such as a folder or the study.
    """
    key = series.patient_key.strip()
    letters = "".join(letter for letter in key.lower() if letter.isalnum())
    return otherwise if _PLACEHOLDER.fullmatch(letters) else key


@dataclass(frozen=True)
class Record(SliceFacts):
    """One slice pair as it is stored.

    Attributes:
        low: int16 (rows, columns), low dose.
        full: int16 (rows, columns), normal dose.
        rescale_slope: HU per stored unit, for both images.
        rescale_intercept: HU of the stored value 0, for both images.
        sop_uid_hash: Keyed hash of the normal-dose image.
        noise_share: Variance of the noise of `full` over that of `low`, 0 for a phantom
            without noise; None if unknown.
        physics: What simulating other doses of `full` needs; None for scanned pairs.
        padding: bool (rows, columns), True where there is no measurement; None without
            `physics`.
    """

    low: np.ndarray
    full: np.ndarray
    rescale_slope: float
    rescale_intercept: float
    sop_uid_hash: str
    noise_share: float | None = None
    physics: SlicePhysics | None = None
    padding: np.ndarray | None = None


class Place(NamedTuple):
    """Identifies a slice among records.

    Attributes:
        patient: Hash of the patient.
        series: Hash of the normal-dose series.
        dose_fraction: Dose of the low-dose slice; None if unknown.
        rows: Rows of both slices.
        columns: Columns of both slices.
        slice_index: Index in the series, from the feet.
    """

    patient: str
    series: str
    dose_fraction: float | None
    rows: int
    columns: int
    slice_index: int


def place_of(facts: SliceFacts, shape: tuple[int, int]) -> Place:
    """Returns the place of a slice of this shape."""
    rows, columns = shape
    return Place(
        str(facts.case),
        str(facts.series),
        facts.dose_fraction,
        rows,
        columns,
        int(facts.slice_index),
    )
