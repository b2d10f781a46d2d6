"""Layout `single`: normal-dose series only; the low dose is simulated."""

from __future__ import annotations

from pathlib import Path

from ct_keras.data.conversion.layouts.series_pair import (
    LayoutOptions,
    SeriesPair,
    folder_parts,
    make_series_pair,
)
from ct_keras.data.slice_facts import patient_of
from ct_keras.dicom import find_series


def single(root: Path, options: LayoutOptions) -> list[SeriesPair]:
    """Finds every CT series below a folder; one series pair each, without a low dose.

    Args:
        root: Any folder.
        options: `force_hu`.
    """
    series_pairs = []
    for series in find_series(root, force_hu=options.force_hu):
        parts = folder_parts(series, root) or [root.name]
        patient = patient_of(series, parts[0])
        series_pairs.append(
            make_series_pair(series, None, patient=patient, names=parts)
        )
    return series_pairs
