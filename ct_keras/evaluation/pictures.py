"""Chooses the slices that the report shows, in one pass and bounded memory."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

PICTURES = 4
#: Maximum number of patients and doses that are kept as candidates.
_GROUPS = 2 * PICTURES
#: Slices kept for each of them: those closest to the median so far.
_CANDIDATES = 2
#: Further slices kept, evenly spread over those seen so far.
_FEWEST_SPREAD = 4
#: Stands for an infinite score; a median adds two of them.
_VERY_LARGE = float(np.finfo(float).max) / 2


@dataclass(frozen=True)
class Picture:
    """One slice and its denoised versions, rounded to whole HU.

    Attributes:
        patient: Hash or number, as in the records.
        series: Hash or number, as in the records.
        slice_index: Position in the series, from 0.
        dose_fraction: Dose of the input, or None if unknown.
        spacing_mm: (row, column); (1, 1) if unknown.
        images: Name -> int16 (rows, columns), HU: ``input``, every model.
        reference: int16 (rows, columns), HU.
    """

    patient: str
    series: str
    slice_index: int
    dose_fraction: float | None
    spacing_mm: tuple[float, float]
    images: Mapping[str, np.ndarray]
    reference: np.ndarray


@dataclass
class _Group:
    patient: str
    dose: float | None
    scores: list[float] = field(default_factory=list)
    candidates: list[tuple[float, int, Picture]] = field(default_factory=list)
    spread: list[tuple[int, Picture]] = field(default_factory=list)
    stride: int = 1

    def thin(self, most: int) -> None:
        """Drops every second of the spread slices while there are too many."""
        while len(self.spread) > most:
            self.spread = self.spread[::2]
            self.stride *= 2


class PictureChooser:
    """Keeps, for each patient and dose, the slice with the median input PSNR.

    Only a few slices per patient and dose stay in memory, those closest to the median
    so far, so the chosen slice is the median one or close to it. If there are fewer
    patients and doses than wanted slices, evenly spread slices are added.

    Args:
        limit: Number of slices to choose; different patients before different doses.

    Example:
        >>> chooser = PictureChooser(limit=0)
        >>> chooser.chosen()
        []
    """

    def __init__(self, limit: int = PICTURES):
        self._limit = limit
        self._groups: dict[tuple, _Group] = {}

    def offer(self, pair, outputs: Mapping[str, np.ndarray], score: float) -> None:
        """Offers a slice to the chooser.

        Args:
            pair: A `ct_keras.data.SlicePair`.
            outputs: Name -> (rows, columns), HU.
            score: PSNR of the input; a value that is not finite counts as very large.
        """
        key = (str(pair.case), dose_of(pair))
        if key not in self._groups:
            if not self._limit or len(self._groups) >= _GROUPS:
                return
            self._groups[key] = _Group(*key)
            for group in self._groups.values():
                group.thin(self._most_spread())
        group = self._groups[key]
        place = len(group.scores)
        group.scores.append(float(score) if np.isfinite(score) else _VERY_LARGE)
        near = _is_near(group)
        spread = place % group.stride == 0
        if not (near or spread):
            return
        picture = _picture(pair, outputs)
        if near:
            group.candidates.append((group.scores[-1], place, picture))
            _forget_farthest(group)
        if spread:
            group.spread.append((place, picture))
            group.thin(self._most_spread())

    def chosen(self) -> list[Picture]:
        """Returns the pictures, from as many patients and doses as possible."""
        waiting = list(self._groups.values())
        taken: list[_Group] = []
        while waiting and len(taken) < self._limit:
            patients = [group.patient for group in taken]
            doses = [group.dose for group in taken]
            best = min(
                waiting,
                key=lambda group: (
                    patients.count(group.patient),
                    doses.count(group.dose),
                ),
            )
            waiting.remove(best)
            taken.append(best)
        taken = [group for group in self._groups.values() if group in taken]
        share, rest = divmod(self._limit, len(taken) or 1)
        chosen = [
            _pictures_of(group, share + (number < rest))
            for number, group in enumerate(taken)
        ]
        return [picture for pictures in chosen for picture in pictures]

    def _most_spread(self) -> int:
        """Number of spread slices that a group keeps: twice as many as it may show.

        At least a few, because in a series whose PSNR drifts the slices closest to the
        median so far are not close to the final median.
        """
        return max(2 * (math.ceil(self._limit / len(self._groups)) - 1), _FEWEST_SPREAD)


def pack_image(hu: np.ndarray) -> str:
    """Packs whole HU losslessly for `decode.js`: differences, then deflate.

    Browsers decode a PNG to 8 bits, so the samples are embedded as bytes, which every
    current browser can inflate (``DecompressionStream``).

    Args:
        hu: int16 (rows, columns).

    Returns:
        base64 of the deflated low bytes, then high bytes, of the differences d of
        neighbours along the flattened image (modulo 65,536, the first against 0), each
        folded to 2d or, below 0, to -2d - 1: so the high bytes are nearly all 0.
    """
    values = np.ascontiguousarray(hu, np.int16).ravel()
    steps = np.diff(values, prepend=np.int16(0))
    folded = ((steps << 1) ^ (steps >> 15)).astype("<i2")
    planes = folded.view(np.uint8).reshape(-1, 2).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode("ascii")


def unpack_image(data: str, shape: tuple[int, int]) -> np.ndarray:
    """Unpacks the text of `pack_image` (int16, the given shape)."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(data)), np.uint8)
    folded = np.ascontiguousarray(planes.reshape(2, -1).T).view("<u2").ravel()
    steps = (folded >> 1).view(np.int16) ^ -(folded & 1).view(np.int16)
    return np.cumsum(steps, dtype=np.int16).reshape(shape)


def dose_of(pair) -> float | None:
    """Returns the dose of a pair without float32 rounding errors, or None."""
    dose = pair.dose_fraction
    return None if dose is None else round(float(dose), 6)


def _is_near(group: _Group) -> bool:
    """Whether the last slice is among those closest to the median."""
    if len(group.candidates) < _CANDIDATES:
        return True
    median = float(np.median(group.scores))
    farthest = max(abs(score - median) for score, *_ in group.candidates)
    return abs(group.scores[-1] - median) < farthest


def _forget_farthest(group: _Group) -> None:
    if len(group.candidates) > _CANDIDATES:
        median = float(np.median(group.scores))
        distances = [abs(score - median) for score, *_ in group.candidates]
        del group.candidates[int(np.argmax(distances))]


def _pictures_of(group: _Group, count: int) -> list[Picture]:
    """The slice closest to the median and spread ones, in their order."""
    kept = {place: picture for _, place, picture in group.candidates}
    kept |= dict(group.spread)
    median = float(np.median(group.scores))
    chosen = min(kept, key=lambda place: (abs(group.scores[place] - median), place))
    others = [place for place, _ in group.spread if place != chosen]
    wanted = min(count - 1, len(others))
    steps = [int((number + 0.5) * len(others) / wanted) for number in range(wanted)]
    return [kept[place] for place in sorted([chosen, *(others[n] for n in steps)])]


def _picture(pair, outputs: Mapping[str, np.ndarray]) -> Picture:
    return Picture(
        patient=str(pair.case),
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
