"""Layout `pairs`: a low-dose and a normal-dose folder with same-named cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ct_keras.data.conversion.layouts.case import (
    Case,
    LayoutOptions,
    only_series,
    series_case,
)
from ct_keras.data.slice_facts import patient_of
from ct_keras.errors import CtKerasError, Finding


def pairs(root: Path, options: LayoutOptions) -> list[Case]:
    """Finds the case folders that both folders hold.

    Args:
        root: Not used; the folders stand in the options.
        options: `low` and `full`; `dose` where the exposures do not tell it.

    Raises:
        CtKerasError: CTK-E000 or E005 for the folders; CTK-E001, no common case; the
            refusals of the reader and of pairing.
    """
    low, full = options.both_folders()
    names = [
        {entry.name for entry in folder.iterdir() if entry.is_dir()}
        for folder in (low, full)
    ]
    common = sorted(names[0] & names[1])
    if not common:
        raise CtKerasError(
            "CTK-E001",
            "the folders of low and normal dose have no case folder in common",
            received=f"{len(names[0])} and {len(names[1])} case folders",
            expected="the same folder names in both",
        )
    lonely = len(names[0] ^ names[1])
    cases = []
    for name in common:
        series = only_series(full / name, options)
        case = series_case(
            series,
            only_series(low / name, options),
            patient=patient_of(series, name),
            names=[name],
            dose=options.dose,
        )
        cases.append(case)
    if lonely:
        note = Finding("CTK-W039", f"{lonely} case folders have no partner folder")
        cases[0] = replace(cases[0], findings=(*cases[0].findings, note))
    return cases
