"""Layout `tcia`: LDCT-and-Projection-data of The Cancer Imaging Archive.

Folder names differ between releases and download tools, so a series is identified by
its PatientID and SeriesDescription, or by its UID if the download has a list.

Reference:
    Moen et al., Med Phys 48(2), 902-911, 2021, doi:10.1002/mp.14594.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from ct_keras.data.conversion.layouts.series_pair import (
    LayoutOptions,
    SeriesPair,
    folder_parts,
    make_series_pair,
)
from ct_keras.data.slice_facts import patient_of
from ct_keras.dicom import Series, find_series
from ct_keras.errors import CtKerasError, Finding
from ct_keras.files import read_table

_FULL, _LOW = "full dose", "low dose"
#: The low dose of each body region: chest 10 %, abdomen (L) and head (N) 25 %.
_DOSES = {"C": 0.1, "L": 0.25, "N": 0.25}
_LIST = "metadata.csv"


def tcia(root: Path, options: LayoutOptions) -> list[SeriesPair]:
    """Finds the full and low dose images of every patient.

    Args:
        root: The download, in any folder structure.
        options: `dose`, if the body region is not known from the patient's number.

    Raises:
        CtKerasError: CTK-E001, if no patient has both doses; patients of one dose
            are left out, with a finding;
            CTK-E030, if partners are ambiguous; errors of the reader and of pairing.
    """
    listed = _listed(root)
    patients: dict[str, dict[str, list[Series]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for series in find_series(root, options=options.read_options):
        subject, description = listed.get(series.series_uid, (None, None))
        description = description or str(series.header.get("SeriesDescription", ""))
        words = re.sub(r"[\W_]+", " ", description.lower())
        dose = next((d for d in (_FULL, _LOW) if d in words), None)
        if dose:
            folder = (folder_parts(series, root) or [root.name])[0]
            patient = subject or patient_of(series, folder)
            patients[patient].setdefault(dose, []).append(series)
    whole = {name: doses for name, doses in patients.items() if len(doses) == 2}
    if patients and not whole:
        raise CtKerasError(
            "CTK-E001",
            "no patient has images of both doses",
            received=", ".join(
                sorted({dose for each in patients.values() for dose in each})
            ),
            expected=f"{_FULL} and {_LOW} of one patient",
            fix="download both",
        )
    findings = _left_out(len(patients) - len(whole))
    series_pairs = []
    for patient, doses in sorted(whole.items()):
        dose = _DOSES.get(patient[:1].upper()) if options.dose is None else options.dose
        for full, low in _partners(doses):
            found = make_series_pair(full, low, patient=patient, dose=dose)
            found = replace(found, findings=(*found.findings, *findings))
            series_pairs.append(found)
    return series_pairs


def _left_out(patients: int) -> tuple[Finding, ...]:
    """What is said of patients with one dose only, as all from one maker have there."""
    if not patients:
        return ()
    text = f"{patients} patients with images of one dose only were left out"
    return (Finding("CTK-I084", text),)


def _partners(doses: dict[str, list[Series]]) -> list[tuple[Series, Series]]:
    """Each full dose series of a patient with its low dose partner."""
    partners = [_partner(full, doses[_LOW]) for full in doses[_FULL]]
    if len({id(low) for low in partners}) != len(partners):
        raise CtKerasError(
            "CTK-E030",
            "two full dose series of a patient have the same low dose partner",
            received=f"{len(partners)} full dose series",
            expected="one for each study, kernel and thickness",
        )
    return list(zip(doses[_FULL], partners, strict=True))


def _partner(full: Series, candidates: list[Series]) -> Series:
    """The low-dose series of the same study, kernel and thickness."""

    def key(series: Series) -> tuple:
        study = series.sources[0].study_uid
        return (
            study,
            (series.kernel or "").casefold(),
            series.slice_thickness_mm,
            series.shape[1:],
        )

    alike = [low for low in candidates if key(low) == key(full)]
    chosen = alike or (candidates if len(candidates) == 1 else [])
    if len(chosen) != 1:
        raise CtKerasError(
            "CTK-E030",
            "a full dose series does not have exactly one low dose partner",
            received=f"{len(alike)} with the same study, kernel and thickness",
            expected="one",
        )
    return chosen[0]


def _listed(root: Path) -> dict[str, tuple[str | None, str | None]]:
    """Series UID -> subject and description from the downloader's list, if any.

    Downloaders write ``Series UID`` or ``SeriesInstanceUID``, ``Subject ID`` or
    ``PatientID``.
    """
    for file in sorted(root.rglob(_LIST)):
        rows = [
            {re.sub(r"\W", "", key).lower(): value for key, value in row.items() if key}
            for row in read_table(file)
        ]
        found = {
            row.get("seriesuid") or row.get("seriesinstanceuid"): (
                row.get("subjectid") or row.get("patientid"),
                row.get("seriesdescription"),
            )
            for row in rows
        }
        return {uid: facts for uid, facts in found.items() if uid}
    return {}
