"""Groups of results: anatomy, body part, kernel, age, size.

An overall mean can hide that a method fails on large patients or sharp kernels. Doses
are separate rows (`by_dose`); these are the other groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ct_keras.data.slice_facts import FACTS, facts_of
from ct_keras.metrics.tissues import body_mask, tissue_masks

UNKNOWN = "unknown"
#: Minimum share of lung in the body, and the name of such a slice.
_ANATOMIES = ((0.10, "lungs"), (0.01, "some lung"), (0.0, "no lung"))
#: Lower limit of the water-equivalent diameter of each band in mm, and its name.
_SIZES = (
    (0, "below 20 cm"),
    (200, "20 to 25 cm"),
    (250, "25 to 30 cm"),
    (300, "30 to 35 cm"),
    (350, "35 cm and more"),
)
#: The keys of a record that determine its groups.
_ELSEWHERE = {
    *("case", "series", "slice_index", "dose_fraction", "spacing_mm", "scale"),
}
_KNOWN = tuple(name for name in FACTS if name not in _ELSEWHERE)
GROUP_KEYS = ("anatomy", *_KNOWN, "water_equivalent_diameter_mm")


@dataclass(frozen=True)
class Grouping:
    """One way to group slices.

    Attributes:
        id: Its key in ``metrics.json``.
        title: Its heading in the report.
        text: How the group is determined.
    """

    id: str
    title: str
    text: str


GROUPINGS = (
    Grouping(
        "anatomy",
        "Anatomy of the slice",
        "Lung tissue of the reference: at least 10 % of the body, 1 to 10 %, or less.",
    ),
    Grouping("body_part", "Part of the body", "BodyPartExamined of the header."),
    Grouping("kernel", "Reconstruction kernel", "ConvolutionKernel of the header."),
    Grouping("age_band", "Age of the patient", "PatientAge of the header, in bands."),
    Grouping(
        "size",
        "Size of the patient",
        "Water-equivalent diameter, mean over the evaluated slices of the series.",
    ),
)


def describe_slice(pair) -> dict[str, str | float | None]:
    """Determines the groups of a slice.

    Args:
        pair: A `ct_keras.data.SlicePair`, or an object with `full_hu` and any of the
            attributes of `SliceFacts`.

    Returns:
        A value for each of `GROUP_KEYS`, None if unknown.
    """
    body, facts = body_mask(pair.full_hu), facts_of(pair)
    return {
        "anatomy": _anatomy(pair.full_hu, body),
        **{name: facts[name] for name in _KNOWN},
        "water_equivalent_diameter_mm": water_equivalent_diameter_mm(
            pair.full_hu, facts["spacing_mm"], body=body
        ),
    }


def water_equivalent_diameter_mm(
    hu: np.ndarray,
    spacing_mm: Sequence[float] | None,
    *,
    body: np.ndarray | None = None,
) -> float | None:
    """Returns the diameter of the water cylinder that attenuates as much as the body.

    ``2 sqrt(A / pi)`` with ``A = sum(1 + HU / 1000)`` over the body times the area of a
    pixel. It underestimates a body that extends beyond the field of view.

    Args:
        hu: (rows, columns), HU.
        spacing_mm: Row and column spacing; None if unknown.
        body: bool (rows, columns); None to find it.

    Returns:
        Diameter in mm, or None without a body or a spacing.

    Reference:
        AAPM Report 220, 2014, equation 4a.
    """
    body = body_mask(hu) if body is None else body
    if spacing_mm is None or not body.any():
        return None
    water = np.sum(1 + np.asarray(hu)[body] / 1000, dtype=np.float64)
    area_mm2 = max(water, 0.0) * spacing_mm[0] * spacing_mm[1]
    return 2 * math.sqrt(area_mm2 / math.pi)


def _anatomy(hu: np.ndarray, body: np.ndarray) -> str | None:
    if not body.any():
        return None
    share = np.count_nonzero(tissue_masks(hu)["lung"] & body) / np.count_nonzero(body)
    return next(name for least, name in _ANATOMIES if share >= least)


def split_by_group(records: Sequence[Mapping]) -> list[tuple[Grouping, dict]]:
    """Splits records by every grouping that is known for some of them.

    Args:
        records: One per slice and model, with `GROUP_KEYS`.

    Returns:
        Each grouping with its sorted values and the records of each; missing values are
        `unknown` and come last.
    """
    sizes = _sizes(records)
    found = []
    for grouping in GROUPINGS:
        by_value: dict[str, list[Mapping]] = {}
        for record in records:
            value = record.get(grouping.id)
            if grouping.id == "size":
                value = sizes.get((record["case"], record["series"]))
            by_value.setdefault(value or UNKNOWN, []).append(record)
        if set(by_value) != {UNKNOWN}:
            order = sorted(by_value, key=_place)
            found.append((grouping, {value: by_value[value] for value in order}))
    return found


def _sizes(records: Sequence[Mapping]) -> dict[tuple[str, str], str]:
    """The band of every series whose size is known."""
    diameters: dict[tuple[str, str], list[float]] = {}
    for record in records:
        diameter = record.get("water_equivalent_diameter_mm")
        if diameter is not None:
            where = record["case"], record["series"]
            diameters.setdefault(where, []).append(diameter)
    return {where: _band(float(np.mean(mm))) for where, mm in diameters.items()}


def _band(diameter_mm: float) -> str:
    return [name for first, name in _SIZES if diameter_mm >= first][-1]


def _place(value: str) -> tuple[int, str]:
    """Sort key: bands by their order, words alphabetically, unknown last."""
    ordered = [name for _, name in (*_SIZES, *_ANATOMIES)]
    if value in ordered:
        return ordered.index(value), ""
    return (len(ordered) + 1 if value == UNKNOWN else len(ordered)), value
