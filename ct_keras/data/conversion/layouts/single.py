"""Layout `single`: normal-dose series only, the low dose is simulated on the way."""

from __future__ import annotations

from pathlib import Path

from ct_keras.data.conversion.layouts.case import (
    Case,
    LayoutOptions,
    folder_parts,
    series_case,
)
from ct_keras.data.slice_facts import patient_of
from ct_keras.dicom import find_series


def single(root: Path, options: LayoutOptions) -> list[Case]:
    """Finds every CT series below a folder; each is a case of its patient.

    Args:
        root: Any folder.
        options: `force_hu`.
    """
    cases = []
    for series in find_series(root, force_hu=options.force_hu):
        parts = folder_parts(series, root) or [root.name]
        patient = patient_of(series, parts[0])
        cases.append(series_case(series, None, patient=patient, names=parts))
    return cases
