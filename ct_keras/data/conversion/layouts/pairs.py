"""Layout `pairs`: a low-dose and a normal-dose folder with same-named sub-folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ct_keras.data.conversion.layouts.series_pair import (
    LayoutOptions,
    SeriesPair,
    make_series_pair,
    only_series,
)
from ct_keras.data.slice_facts import patient_of
from ct_keras.errors import CtKerasError, Finding


def pairs(root: Path, options: LayoutOptions) -> list[SeriesPair]:
    """Finds the sub-folders that exist in both folders; each holds one series.

    Args:
        root: Not used; the options name the folders.
        options: `low` and `full`; `dose` if the exposures are not tagged.

    Raises:
        CtKerasError: CTK-E000 or E005 for the folders; CTK-E001, no common sub-folder;
            errors of the reader and of pairing.
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
            "the folders of low and normal dose have no sub-folder in common",
            received=f"{len(names[0])} and {len(names[1])} sub-folders",
            expected="the same folder names in both",
        )
    lonely = len(names[0] ^ names[1])
    series_pairs = []
    for name in common:
        series = only_series(full / name, options)
        series_pair = make_series_pair(
            series,
            only_series(low / name, options),
            patient=patient_of(series, name),
            names=[name],
            dose=options.dose,
        )
        series_pairs.append(series_pair)
    if lonely:
        note = Finding("CTK-W039", f"{lonely} sub-folders have no partner")
        series_pairs[0] = replace(
            series_pairs[0], findings=(*series_pairs[0].findings, note)
        )
    return series_pairs
