"""Which slices the report shows, chosen while they pass by in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

PICTURES = 4
#: Patients and doses that are kept as candidates while slices pass by.
_GROUPS = 2 * PICTURES
#: Slices kept for each of them: those nearest to the median so far.
_CANDIDATES = 3


@dataclass(frozen=True)
class Picture:
    """One slice in all versions, rounded to whole HU.

    Attributes:
        case: The patient.
        series: The series within the case.
        slice_index: Position in the series, from 0.
        dose_fraction: Dose of the input, or None where it is unknown.
        spacing_mm: (row, column); square where it is unknown.
        images: Name -> int16 (rows, columns), HU: ``input``, every model.
        reference: int16 (rows, columns), HU.
    """

    case: str
    series: str
    slice_index: int
    dose_fraction: float | None
    spacing_mm: tuple[float, float]
    images: Mapping[str, np.ndarray]
    reference: np.ndarray


@dataclass
class _Group:
    case: str
    dose: float | None
    scores: list[float] = field(default_factory=list)
    candidates: list[tuple[float, int, Picture]] = field(default_factory=list)


class PictureChooser:
    """Keeps, for each patient and dose, the slice with the median input PSNR.

    Only a few slices per patient and dose stay in memory, the ones nearest to the
    median of those seen so far, so the choice is the median slice or close to it.

    Args:
        limit: How many slices are wanted; patients come before doses.

    Example:
        >>> chooser = PictureChooser(limit=0)
        >>> chooser.chosen()
        []
    """

    def __init__(self, limit: int = PICTURES):
        self._limit = limit
        self._groups: dict[tuple, _Group] = {}

    def offer(self, pair, outputs: Mapping[str, np.ndarray], score: float) -> None:
        """Shows a slice to the chooser.

        Args:
            pair: A `ct_keras.data.SlicePair`.
            outputs: Name -> (rows, columns), HU.
            score: PSNR of the input; what is not finite counts as very large.
        """
        key = (str(pair.case), dose_of(pair))
        if key not in self._groups:
            if not self._limit or len(self._groups) >= _GROUPS:
                return
            self._groups[key] = _Group(*key)
        group = self._groups[key]
        score = float(score) if np.isfinite(score) else np.finfo(float).max
        group.scores.append(score)
        median = float(np.median(group.scores))
        distances = [abs(kept[0] - median) for kept in group.candidates]
        if len(distances) == _CANDIDATES:
            farthest = int(np.argmax(distances))
            if distances[farthest] <= abs(score - median):
                return
            del group.candidates[farthest]
        group.candidates.append((score, len(group.scores), _picture(pair, outputs)))

    def chosen(self) -> list[Picture]:
        """Returns the pictures, as many different patients and doses as possible."""
        waiting = list(self._groups.values())
        taken: list[_Group] = []
        while waiting and len(taken) < self._limit:
            cases = [group.case for group in taken]
            doses = [group.dose for group in taken]
            best = min(
                waiting,
                key=lambda group: (cases.count(group.case), doses.count(group.dose)),
            )
            waiting.remove(best)
            taken.append(best)
        order = list(self._groups.values())
        return [_median_picture(group) for group in sorted(taken, key=order.index)]


def dose_of(pair) -> float | None:
    """Returns a pair's dose, free of the rounding of a 32-bit file, or None."""
    dose = pair.dose_fraction
    return None if dose is None else round(float(dose), 6)


def _median_picture(group: _Group) -> Picture:
    median = float(np.median(group.scores))
    nearest = min(group.candidates, key=lambda kept: (abs(kept[0] - median), kept[1]))
    return nearest[2]


def _picture(pair, outputs: Mapping[str, np.ndarray]) -> Picture:
    return Picture(
        case=str(pair.case),
        series=str(pair.series),
        slice_index=int(pair.slice_index),
        dose_fraction=dose_of(pair),
        spacing_mm=tuple(float(step) for step in pair.spacing_mm or (1, 1)),
        images={name: _whole_hu(image) for name, image in outputs.items()},
        reference=_whole_hu(pair.full_hu),
    )


def _whole_hu(hu: np.ndarray) -> np.ndarray:
    limits = np.iinfo(np.int16)
    return np.clip(np.rint(hu), limits.min, limits.max).astype(np.int16)
