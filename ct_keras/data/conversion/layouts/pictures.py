"""Layout `images`: folders of noisy and clean pictures with same-named files.

A sub-folder is a patient; files that lie in the folders themselves are one patient.
Pictures are 16-bit PNG or TIFF, float TIFF, or DICOM files.
"""

from __future__ import annotations

from pathlib import Path

from ct_keras.data.conversion.images import Picture, safe_kernel
from ct_keras.data.conversion.layouts.case import Case, LayoutOptions, Pair
from ct_keras.data.conversion.pairing import check_partners
from ct_keras.data.conversion.strata import age_band, body_part
from ct_keras.dicom import find_series
from ct_keras.errors import CtKerasError

_PICTURES = {".png", ".tif", ".tiff"}


def images(root: Path, options: LayoutOptions) -> list[Case]:
    """Finds the pictures that both folders hold.

    Args:
        root: Not used; the folders stand in the options.
        options: `low`, `full`, `slope`, `intercept`, `spacing_mm`, `dose`.

    Raises:
        CtKerasError: CTK-E000 or E005 for the folders; CTK-E001, no common name;
            CTK-E040, pictures without `slope` and `intercept`.
    """
    low, full = options.both_folders()
    files = [_pictures(folder) for folder in (low, full)]
    if not files[0] and not files[1]:
        return _dicom_cases(low, full, options)
    common = sorted(set(files[0]) & set(files[1]))
    if not common:
        raise _nothing_common()
    if options.slope is None or options.intercept is None:
        raise CtKerasError(
            "CTK-E040",
            "pictures do not say what their values are in HU",
            fix="pass --slope and --intercept: HU = value * slope + intercept",
        )
    groups: dict[str, list[Path]] = {}
    for name in common:
        groups.setdefault(_group(name), []).append(name)
    lonely = len(set(files[0]) ^ set(files[1]))
    cases = []
    for group, names in sorted(groups.items()):
        pairs = tuple(
            Pair(
                full=_picture(files[1][name], name, number, options),
                low=_picture(files[0][name], name, number, options),
                slice_index=number - 1,
            )
            for number, name in enumerate(names, start=1)
        )
        cases.append(_case(group or full.name, pairs, options, lonely))
        lonely = 0
    return cases


def _pictures(folder: Path) -> dict[Path, Path]:
    """Relative path without suffix -> file, for every picture below a folder."""
    return {
        path.relative_to(folder).with_suffix(""): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in _PICTURES and path.is_file()
    }


def _group(name: Path) -> str:
    return name.parts[0] if len(name.parts) > 1 else ""


def _picture(path: Path, name: Path, number: int, options: LayoutOptions) -> Picture:
    return Picture(path, number, name.as_posix(), options.slope, options.intercept)


def _case(patient: str, pairs, options: LayoutOptions, lonely: int, **values) -> Case:
    return Case(
        patient=patient,
        names=frozenset({patient}),
        series_key=patient,
        order=patient,
        pairs=pairs,
        dose=options.dose or 0.0,
        unmatched=lonely,
        **{"spacing_mm": options.spacing_mm, **values},
    )


def _dicom_cases(low: Path, full: Path, options: LayoutOptions) -> list[Case]:
    """Same-named DICOM files; each pair must show the same place."""
    found = []
    for folder in (low, full):
        sources = [s for series in find_series(folder) for s in series.sources]
        found.append({s.path.relative_to(folder).with_suffix(""): s for s in sources})
    common = sorted(set(found[0]) & set(found[1]))
    if not common:
        raise _nothing_common()
    groups: dict[str, list[Path]] = {}
    for name in common:
        check_partners(found[0][name], found[1][name])
        patient = found[1][name].patient_id or _group(name) or full.name
        groups.setdefault(patient, []).append(name)
    lonely = len(set(found[0]) ^ set(found[1]))
    cases = []
    for patient, names in sorted(groups.items()):
        pairs = tuple(
            Pair(full=found[1][name], low=found[0][name], slice_index=index)
            for index, name in enumerate(names)
        )
        first = pairs[0].full
        facts = {
            "spacing_mm": first.pixel_spacing_mm or options.spacing_mm,
            "slice_thickness_mm": first.thickness_mm or 0.0,
            "kernel": safe_kernel(first.kernel),
            "age_band": age_band(first.patient_age_years),
            "body_part": body_part(first.body_part),
        }
        cases.append(_case(patient, pairs, options, lonely, **facts))
        lonely = 0
    return cases


def _nothing_common() -> CtKerasError:
    return CtKerasError(
        "CTK-E001",
        "the folders of noisy and clean pictures have no file name in common",
        expected="same-named PNG, TIFF or DICOM files",
    )
