"""The ranges of the training data of a network, for comparison with a scan."""

from __future__ import annotations

import os

import numpy as np

from ct_keras.data.manifest import read_manifest
from ct_keras.data.reading import read_some_pairs
from ct_keras.image_quality.noise import noise_frequency_per_cm, noise_index_hu

#: Number of slice pairs that are measured, spread over the split.
COUNT = 48
#: Used if the spacing is unknown.
_USUAL_SPACING_MM = (0.75, 0.75)


def training_ranges(
    records: str | os.PathLike, split: str = "train", *, count: int = COUNT
) -> dict:
    """Measures properties of the low-dose slices of a split.

    Args:
        records: The folder that `convert` wrote.
        split: train, val or test.
        count: Number of slice pairs that are measured.

    Returns:
        Plain values: `noise_index_hu` (1st and 99th percentile over slices),
        `noise_frequency_per_cm`, `pixel_spacing_mm` and `slice_thickness_mm` (smallest
        and largest), each None if unknown, and `kernels`.

    Raises:
        CtKerasError: CTK-E080, E081, E084, E085 as `read_manifest`.
    """
    indices, frequencies, spacings, thicknesses, kernels = [], [], [], [], set()
    for pair in read_some_pairs(read_manifest(records), split, count):
        spacing_mm = pair.spacing_mm or _USUAL_SPACING_MM
        indices.append(noise_index_hu([pair.low_hu], spacing_mm))
        frequencies.append(noise_frequency_per_cm([pair.low_hu], spacing_mm))
        spacings.extend(pair.spacing_mm or ())
        thicknesses.append(pair.slice_thickness_mm)
        kernels.add(pair.kernel)
    return {
        "noise_index_hu": _range(indices, 1, 99),
        "noise_frequency_per_cm": _range(frequencies),
        "pixel_spacing_mm": _range(spacings),
        "slice_thickness_mm": _range(thicknesses),
        "kernels": sorted(kernel for kernel in kernels if kernel),
    }


def _range(values: list, low: float = 0, high: float = 100) -> list[float] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return [round(float(np.percentile(known, share)), 3) for share in (low, high)]
