"""The cases of a reader study: slices and their denoised versions."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ct_keras.data.runs import consecutive_runs
from ct_keras.data.slice_facts import Place
from ct_keras.denoising.method import Method
from ct_keras.denoising.methods import as_method
from ct_keras.errors import CtKerasError
from ct_keras.evaluation.pictures import dose_of
from ct_keras.metrics.tissues import body_mask
from ct_keras.progress import track
from ct_keras.reader_study.criteria import FULL_DOSE, LOW_DOSE

#: Every image is clipped to this, so that values outside the body reveal no method.
CLIP_HU = (-1024, 3071)
#: Margin around the body in pixels.
MARGIN_PIXELS = 10


@dataclass(frozen=True)
class StudyCase:
    """A slice as shown to readers: every arm cropped to the body of the reference.

    Attributes:
        patient: Hash or number, as in the records; stored only in the key.
        series: Hash or number, as in the records.
        slice_index: Position in the series, from 0.
        dose_fraction: Dose of the input, or None if unknown.
        spacing_mm: (row, column); (1, 1) if unknown.
        offset: Row and column of the first cropped pixel.
        images: Name of the arm -> int16 (rows, columns), whole HU.
    """

    patient: str
    series: str
    slice_index: int
    dose_fraction: float | None
    spacing_mm: tuple[float, float]
    offset: tuple[int, int]
    images: Mapping[str, np.ndarray]


def choose_slices(
    pairs: Iterable, *, seed: int, limit: int | None = None, per_patient: int = 1
) -> set[Place]:
    """Draws slices at random, the same number from each patient.

    Slices without a body are left out. The draw does not depend on the order of the
    pairs.

    Args:
        pairs: `ct_keras.data.SlicePair` records.
        seed: Seed of the draw.
        limit: Maximum number of cases; None for all patients.
        per_patient: Number of slices of each patient.

    Raises:
        CtKerasError: CTK-E084, if no slice shows a body.
    """
    drawn: dict[str, list[tuple[str, Place]]] = {}
    for pair in pairs:
        if not body_mask(pair.full_hu).any():
            continue
        place = place_of(pair)
        known = drawn.setdefault(place.patient, [])
        known.append((_lot(seed, *place), place))
        known.sort()
        del known[per_patient:]
    if not drawn:
        raise CtKerasError(
            "CTK-E084",
            "there is no slice for a reader study",
            fix="check the name of the split",
        )
    patients = sorted(drawn, key=lambda patient: _lot(seed, patient))
    rounds = itertools.zip_longest(*(drawn[patient] for patient in patients))
    order = [entry[1] for each in rounds for entry in each if entry is not None]
    return set(order[:limit])


def find_slices(
    pairs: Iterable, wanted: Sequence[Mapping[str, object]], *, seed: int
) -> set[Place]:
    """Finds given slices among the pairs.

    Args:
        pairs: `ct_keras.data.SlicePair` records.
        wanted: One for each slice: ``case`` and ``slice_index``; if one patient has
            several, also ``series`` and ``dose_fraction``. If several slices match, one
            of them is drawn.
        seed: Seed of that draw.

    Raises:
        CtKerasError: CTK-E084, if one of them is not found or shows no body.
    """
    bodies = {}
    for pair in pairs:
        place = place_of(pair)
        if any(_fits(place, row) for row in wanted):
            bodies[place] = bool(body_mask(pair.full_hu).any())
    places = sorted(bodies, key=lambda place: _lot(seed, *place))
    chosen = set()
    for row in wanted:
        fitting = [place for place in places if _fits(place, row)]
        if not fitting:
            raise CtKerasError(
                "CTK-E084",
                "a slice in the list is not among the pairs",
                received=f"case {row.get('case')}, slice {row.get('slice_index')}",
                fix="copy case and slice_index from slices.csv of evaluate",
            )
        if not bodies[fitting[0]]:
            raise CtKerasError(
                "CTK-E084",
                "a slice in the list shows no body, so there is nothing to read",
                received=f"case {row.get('case')}, slice {row.get('slice_index')}",
                fix="remove it from the list",
            )
        chosen.add(fitting[0])
    return chosen


def run_methods(
    methods: Mapping[str, Method | Callable[[np.ndarray], np.ndarray]],
    pairs: Iterable,
    chosen: set[Place],
    *,
    progress: bool = False,
) -> list[StudyCase]:
    """Denoises the chosen slices by every method.

    Args:
        methods: Name -> method, or what `ct_keras.denoising.as_method` makes one of; a
            3-D method gets the consecutive slices around a chosen one.
        pairs: The pairs that were given to `choose_slices`.
        chosen: From `choose_slices`.
        progress: Show a bar.

    Returns:
        The cases, sorted by patient, series and position.

    Raises:
        CtKerasError: CTK-E070, if a method's output is not finite; CTK-E041, if its
            shape differs.
    """
    cases = []
    methods = {name: as_method(method) for name, method in methods.items()}
    waiting = track(
        _with_neighbours(methods, pairs, chosen),
        "Denoising",
        total=len(chosen),
        enabled=progress,
    )
    for run, number in waiting:
        pair = run[number]
        images = {FULL_DOSE: pair.full_hu, LOW_DOSE: pair.low_hu}
        for name, method in methods.items():
            if name in images:
                continue
            if method.dimensions == 3:
                images[name] = method.denoise_pairs(run)[number]
            else:
                (images[name],) = method.denoise_pairs([pair])
        cases.append(_cut(pair, images))
    return sorted(cases, key=_order)


def place_of(pair) -> Place:
    """Returns the place of a pair, as of a record."""
    return Place(
        str(pair.case),
        str(pair.series),
        dose_of(pair),
        *np.shape(pair.low_hu),
        int(pair.slice_index),
    )


def _fits(place: Place, row: Mapping[str, object]) -> bool:
    dose = row.get("dose_fraction")
    return (
        place.patient == str(row.get("case"))
        and _is_number(row.get("slice_index"), place.slice_index)
        and str(row.get("series") or place.series) == place.series
        and (dose in (None, "") or _is_number(dose, place.dose_fraction))
    )


def _is_number(text: object, value: float | None) -> bool:
    """Whether a cell holds a number in any spelling: 3, 03, 3.0."""
    try:
        return value is not None and math.isclose(float(text), value, rel_tol=1e-6)
    except (TypeError, ValueError):
        return False


def _lot(seed: int, *what) -> str:
    """A pseudo-random text for a draw that depends on the arguments only."""
    return hashlib.sha256(repr((seed, *what)).encode()).hexdigest()


def _order(case: StudyCase) -> tuple:
    return case.patient, case.series, case.slice_index, case.dose_fraction or 0


def _with_neighbours(
    methods: Mapping[str, Method], pairs: Iterable, chosen: set[Place]
) -> Iterator[tuple[list, int]]:
    """Yields for each chosen slice its run of slices and its index in the run.

    Without a 3-D method, a run is a single slice and series are not kept in memory.
    """
    if all(method.dimensions == 2 for method in methods.values()):
        yield from (([pair], 0) for pair in pairs if place_of(pair) in chosen)
        return
    for _, group in itertools.groupby(pairs, key=lambda pair: (pair.case, pair.series)):
        series = list(group)
        places = [place_of(pair) for pair in series]
        for run in consecutive_runs(places):
            for number, index in enumerate(run):
                if places[index] in chosen:
                    yield [series[each] for each in run], number


def _cut(pair, images: Mapping[str, np.ndarray]) -> StudyCase:
    rows, columns = pair.full_hu.shape
    body = body_mask(pair.full_hu).astype(np.uint8)
    left, top, width, height = cv2.boundingRect(body)
    top, left = max(top - MARGIN_PIXELS, 0), max(left - MARGIN_PIXELS, 0)
    bottom = min(top + height + 2 * MARGIN_PIXELS, rows)
    right = min(left + width + 2 * MARGIN_PIXELS, columns)
    return StudyCase(
        patient=str(pair.case),
        series=str(pair.series),
        slice_index=int(pair.slice_index),
        dose_fraction=dose_of(pair),
        spacing_mm=tuple(float(step) for step in pair.spacing_mm or (1, 1)),
        offset=(top, left),
        images={
            name: np.clip(np.rint(hu[top:bottom, left:right]), *CLIP_HU).astype(
                np.int16
            )
            for name, hu in images.items()
        },
    )
