"""Layout `single`: normal-dose series only; the low dose is simulated."""

from __future__ import annotations

from pathlib import Path

from ct_keras.containers import find_volume_files
from ct_keras.data.conversion.layouts.series_pair import (
    LayoutOptions,
    SeriesPair,
    folder_parts,
    make_series_pair,
    make_volume_pair,
)
from ct_keras.data.conversion.layouts.volumes import read_source
from ct_keras.data.slice_facts import patient_of
from ct_keras.dicom import find_series
from ct_keras.errors import CtKerasError


def single(root: Path, options: LayoutOptions) -> list[SeriesPair]:
    """Finds every CT series below a folder; one series pair each, without a low dose.

    Without DICOM series, every NIfTI, NRRD, MetaImage, .npy, TIFF or PNG file is a
    series; the first folder below the root is its patient, or its own name.

    Args:
        root: Any folder.
        options: `read_options`; for files also what they do not say.
    """
    return series_pairs_below(root, root, options)


def series_pairs_below(
    folder: Path, root: Path, options: LayoutOptions
) -> list[SeriesPair]:
    """The same, of one folder below `root`, by whose parts patients are named."""
    try:
        found = find_series(folder, options=options.read_options)
    except CtKerasError as error:
        files = find_volume_files(folder) if error.code == "CTK-E001" else {}
        if not files:
            raise
        return [
            make_volume_pair(
                read_source(path, number, options),
                None,
                patient=name.split("/")[0],
                name=name,
            )
            for number, (name, path) in enumerate(sorted(files.items()), start=1)
        ]
    series_pairs = []
    for series in found:
        parts = folder_parts(series, root) or [root.name]
        patient = patient_of(series, parts[0])
        series_pairs.append(
            make_series_pair(series, None, patient=patient, names=parts)
        )
    return series_pairs
