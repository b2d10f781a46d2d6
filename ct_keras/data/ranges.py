"""The ranges of the training data of a network, for comparison with a scan."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np

from ct_keras.data.manifest import read_manifest
from ct_keras.data.reading import SlicePair, read_some_pairs
from ct_keras.data.slice_facts import SliceFacts
from ct_keras.image_quality.noise import noise_frequency_per_cm, noise_index_hu

#: Number of slice pairs that are measured, spread over the split.
COUNT = 48
#: Used if the spacing is unknown.
_USUAL_SPACING_MM = (0.75, 0.75)


def training_ranges(
    records: str | os.PathLike,
    split: str = "train",
    *,
    count: int = COUNT,
    doses: tuple[float, float] | None = None,
) -> dict:
    """Measures properties of the low-dose slices of a split.

    Args:
        records: The folder that `convert` wrote.
        split: train, val or test.
        count: Number of slice pairs that are measured.
        doses: The range of doses that training draws from, if it does. If it reaches
            above the doses of the records, references with noise are measured too:
            they have the least noise that a network can be given.

    Returns:
        Plain values: `noise_index_hu` (1st and 99th percentile over slices),
        `noise_frequency_per_cm`, `pixel_spacing_mm`, `slice_thickness_mm` and `kvp`
        (smallest and largest), each None if unknown; the `kernels`, `body_parts` and
        `manufacturers` that occur; `contrast`, whether an agent was named; and
        `scale`, "picture" or None for HU.

    Raises:
        CtKerasError: CTK-E080, E081, E084, E085 as `read_manifest`.
    """
    indices, frequencies, facts = [], [], []
    for pair in read_some_pairs(read_manifest(records), split, count):
        facts.append(pair)
        if pair.scale is not None:
            continue
        spacing_mm = pair.spacing_mm or _USUAL_SPACING_MM
        for image in _images(pair, doses):
            indices.append(noise_index_hu([image], spacing_mm))
            frequencies.append(noise_frequency_per_cm([image], spacing_mm))
    return {
        "noise_index_hu": span(indices, 1, 99),
        "noise_frequency_per_cm": span(frequencies),
        **header_ranges(facts),
    }


def _images(pair: SlicePair, doses: tuple[float, float] | None) -> Iterator[np.ndarray]:
    """The low dose; and a reference with noise, if training draws doses near it."""
    yield pair.low_hu
    nearer = doses and doses[1] > (pair.dose_fraction or 1)
    if nearer and pair.noise_share:
        yield pair.full_hu


def header_ranges(slices: Sequence[SliceFacts]) -> dict:
    """Returns the entries of `training_ranges` that headers give."""

    def named(key: str) -> list[str]:
        return sorted({value for each in slices if (value := getattr(each, key))})

    spacings = (each.spacing_mm or () for each in slices)
    return {
        "pixel_spacing_mm": span([side for sides in spacings for side in sides]),
        "slice_thickness_mm": span([each.slice_thickness_mm for each in slices]),
        "kvp": span([each.kvp for each in slices]),
        "kernels": named("kernel"),
        "body_parts": named("body_part"),
        "manufacturers": named("manufacturer"),
        "contrast": bool(named("contrast")),
        "scale": next(iter(named("scale")), None),
    }


def span(values: Sequence, low: float = 0, high: float = 100) -> list[float] | None:
    """Returns two percentiles of the values that are known, None if none is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return [round(float(np.percentile(known, share)), 3) for share in (low, high)]
