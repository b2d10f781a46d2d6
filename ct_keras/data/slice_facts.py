"""What is known of a slice: one record from the DICOM header to the evaluation row.

Layouts fill it in, records keep it, and slice pairs bring it to whoever measures. A new
attribute is a field of `SliceFacts` and a line of `series_facts`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from ct_keras.data.strata import age_band, body_part, safe_kernel
from ct_keras.dicom import Series

#: PatientIDs that anonymisers leave behind, without spaces and marks; they name nobody.
_PLACEHOLDER = re.compile(
    "(anon(ym|ymous|ymi[sz]ed)?|dei?dentified|unknown|none|null|na|noid|nopatientid|"
    "removed|redacted|deleted|0*|x*)(patient|patientid|subject|id|name)?"
)


@dataclass(frozen=True, kw_only=True)
class SliceFacts:
    """What is known of a slice; None is unknown.

    Attributes:
        case: Hash or number of the patient.
        series: Hash or number of the normal-dose series.
        slice_index: Number in the normal-dose series, from the feet.
        dose_fraction: Low dose over normal dose.
        spacing_mm: Row and column spacing.
        slice_thickness_mm: SliceThickness.
        kernel: Reconstruction kernel.
        kvp: Tube voltage in kV.
        age_band: One of `ct_keras.data.strata.AGE_BANDS`.
        body_part: One of `ct_keras.data.strata.BODY_PARTS`.
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


#: The names of all facts.
FACTS = tuple(field.name for field in fields(SliceFacts))


def facts_of(slice_or_pair) -> dict[str, object]:
    """Returns every fact by name; None for those that it has no attribute for."""
    return {name: getattr(slice_or_pair, name, None) for name in FACTS}


def series_facts(series: Series, /, **known) -> SliceFacts:
    """Returns what the headers of a series tell, without any text of a person.

    Args:
        series: Of normal dose.
        **known: What something else tells: other fields of `SliceFacts`.
    """
    return SliceFacts(
        spacing_mm=series.sources[0].pixel_spacing_mm,
        slice_thickness_mm=series.slice_thickness_mm or None,
        kernel=safe_kernel(series.kernel),
        kvp=series.kvp,
        age_band=age_band(series.patient_age_years),
        body_part=body_part(series.body_part),
        **known,
    )


def patient_of(series: Series, otherwise: str) -> str:
    """Returns the PatientID, or `otherwise` where an anonymiser left none.

    Args:
        series: Of one patient.
        otherwise: What tells patients apart then: a folder, or the study.
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
    """

    low: np.ndarray
    full: np.ndarray
    rescale_slope: float
    rescale_intercept: float
    sop_uid_hash: str


class Place(NamedTuple):
    """Where a slice lies.

    Attributes:
        patient: Hash of the patient.
        series: Hash of the normal-dose series.
        dose_fraction: Dose of the low-dose slice; None is unknown.
        rows: Rows of both slices.
        columns: Columns of both slices.
        slice_index: Number in the series, from the feet.
    """

    patient: str
    series: str
    dose_fraction: float | None
    rows: int
    columns: int
    slice_index: int


def place_of(facts: SliceFacts, shape: tuple[int, int]) -> Place:
    """Returns the place of a slice with so many rows and columns."""
    rows, columns = shape
    return Place(
        str(facts.case),
        str(facts.series),
        facts.dose_fraction,
        rows,
        columns,
        int(facts.slice_index),
    )
