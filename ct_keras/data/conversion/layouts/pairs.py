"""Layout `pairs`: a low-dose and a normal-dose folder with same-named cases.

A case is a sub-folder that holds one series, or a file of another format than DICOM.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ct_keras.containers import VolumeFile, find_volume_files, is_volume_file
from ct_keras.containers.slices import name_of
from ct_keras.data.conversion.layouts.series_pair import (
    LayoutOptions,
    SeriesPair,
    make_series_pair,
    make_volume_pair,
    only_series,
)
from ct_keras.data.conversion.layouts.volumes import read_source, skipped_findings
from ct_keras.data.slice_facts import patient_of
from ct_keras.dicom import Series
from ct_keras.errors import CtKerasError, Finding


def pairs(root: Path, options: LayoutOptions) -> list[SeriesPair]:
    """Finds the cases that exist in both folders.

    Args:
        root: Not used; the options name the folders.
        options: `low` and `full`; `dose` if the exposures are not tagged; for files
            also what they do not say.

    Raises:
        CtKerasError: CTK-E000 or E005 for the folders; CTK-E001, no common case;
            CTK-E030, two cases of one name; errors of the reader and of pairing.
    """
    low, full = map(_cases, options.both_folders())
    common = sorted(low.keys() & full.keys())
    if not common:
        raise CtKerasError(
            "CTK-E001",
            "the folders of low and normal dose have no case in common",
            received=f"{len(low)} and {len(full)} sub-folders and files",
            expected="the same names in both",
        )
    lonely = len(low.keys() ^ full.keys())
    loose = [path for folder in options.both_folders() for path in folder.iterdir()]
    notes = skipped_findings(loose, "they lie beside the cases, in none of them")
    series_pairs = [
        _pair(name, number, low[name], full[name], options)
        for number, name in enumerate(common, start=1)
    ]
    if lonely:
        notes.append(Finding("CTK-W039", f"{lonely} cases have no partner"))
    series_pairs[0] = replace(
        series_pairs[0], findings=(*series_pairs[0].findings, *notes)
    )
    return series_pairs


def _cases(folder: Path) -> dict[str, Path]:
    """Name -> sub-folder, or file of another format than DICOM."""
    found: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if not (entry.is_dir() or is_volume_file(entry)):
            continue
        name = entry.name if entry.is_dir() else name_of(entry, folder)
        if found.setdefault(name, entry) != entry:
            raise CtKerasError(
                "CTK-E030",
                "two cases in one folder have the same name",
                expected="one folder or file per case",
            )
    return found


def _pair(
    name: str, number: int, low: Path, full: Path, options: LayoutOptions
) -> SeriesPair:
    noisy, clean = (_scan(path, number, options) for path in (low, full))
    known = {"dose": options.dose}
    if isinstance(noisy, Series) and isinstance(clean, Series):
        patient = patient_of(clean, name)
        return make_series_pair(clean, noisy, patient=patient, names=[name], **known)
    if isinstance(noisy, Series) or isinstance(clean, Series):
        raise CtKerasError(
            "CTK-E039",
            "low and normal dose do not fit together: one is a DICOM series, the other "
            "a file of another format",
        )
    return make_volume_pair(clean, noisy, patient=name, name=name, **known)


def _scan(path: Path, number: int, options: LayoutOptions) -> Series | VolumeFile:
    """Reads a case: a file, or the one series or file in a folder."""
    if not path.is_dir():
        return read_source(path, number, options)
    try:
        return only_series(path, options)
    except CtKerasError as error:
        files = find_volume_files(path) if error.code == "CTK-E001" else {}
        if len(files) != 1:
            raise
        return read_source(*files.values(), number, options)
