"""Slices at another spacing: each is a weighted mean of neighbouring ones of a scan.

The low dose is simulated for the slices of the scan, and resampled afterwards like the
normal dose: noise is physical only at the spacing at which it was measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ct_keras.containers import VolumePlace, VolumeSlice
from ct_keras.data.conversion.layouts import SeriesPair, SourcePair
from ct_keras.data.conversion.work import Recipe
from ct_keras.data.resampling import resampling_weights
from ct_keras.dicom import SourceSlice, require_volume
from ct_keras.dicom.geometry import even_runs
from ct_keras.errors import CtKerasError
from ct_keras.inputs.options import ReadOptions

#: Pixels or slices along an axis of a scan at a common spacing.
_MOST = 4096


@dataclass(frozen=True)
class BlendedPair:
    """A slice pair at a new position, in place of a `SourcePair`.

    Attributes:
        parts: Slice pairs of the scan, each with its weight; the weights add up to 1.
        slice_index: Index in the new stack, from the feet.
    """

    parts: tuple[tuple[SourcePair, float], ...]
    slice_index: int

    @property
    def full(self) -> SourceSlice | VolumeSlice:
        """The normal-dose image that counts most."""
        return self._main.full

    @property
    def low(self) -> SourceSlice | VolumeSlice | None:
        """The low-dose image that counts most, or None if it is simulated."""
        return self._main.low

    @property
    def images(self) -> tuple[SourceSlice | VolumeSlice, ...]:
        """The images that are read."""
        return tuple(image for pair, _ in self.parts for image in pair.images)

    @property
    def image_key(self) -> str:
        """Identifies the slice in hashes."""
        return f"{self.full.image_key} {self.slice_index}"

    @property
    def _main(self) -> SourcePair:
        return max(self.parts, key=lambda part: part[1])[0]


def restacked(series_pairs: Sequence[SeriesPair], recipe: Recipe) -> list[SeriesPair]:
    """Returns the series pairs with slices at the spacing of a recipe, if it has one.

    Args:
        series_pairs: Series pairs of a layout.
        recipe: `resample_mm` is only compared with the size of the images.

    Raises:
        CtKerasError: CTK-E037, if a spacing is unknown or exceeds the scan; CTK-E041,
            if it gives more than 4096 pixels or slices along an axis; CTK-E033 or E036,
            if the slices do not form a straight stack.
    """
    for each in series_pairs:
        _check_pixels(each, recipe.resample_mm)
    if recipe.resample_slices_mm is None:
        return list(series_pairs)
    return [_restacked(each, recipe.resample_slices_mm) for each in series_pairs]


def _check_pixels(series_pair: SeriesPair, target_mm: float | None) -> None:
    """Refuses a common pixel size that cannot be reached."""
    if target_mm is None:
        return
    if series_pair.facts.spacing_mm is None:
        raise CtKerasError(
            "CTK-E037",
            "the pixel spacing is unknown, so images cannot be resampled",
            fix="omit the common spacing",
        )
    image = series_pair.pairs[0].full
    for size, spacing_mm in zip(
        (image.rows, image.columns), series_pair.facts.spacing_mm, strict=True
    ):
        _check_extent(size * spacing_mm, target_mm)


def _check_extent(extent_mm: float, target_mm: float) -> None:
    if target_mm > extent_mm:
        raise CtKerasError(
            "CTK-E037",
            "the common spacing is larger than a scan",
            received=f"{target_mm:g} mm",
            expected=f"at most {extent_mm:g} mm",
        )
    if extent_mm > _MOST * target_mm:
        raise CtKerasError(
            "CTK-E041",
            "the common spacing is too small for a scan",
            received=f"{target_mm:g} mm",
            expected=f"at least {extent_mm / _MOST:.3g} mm ({_MOST} along an axis)",
        )


def _restacked(series_pair: SeriesPair, target_mm: float) -> SeriesPair:
    spacing_mm, runs = _stack(series_pair.series)
    pairs: list[BlendedPair] = []
    for run in _consecutive(series_pair.pairs, runs):
        _check_extent(len(run) * spacing_mm, target_mm)
        first = pairs[-1].slice_index + 2 if pairs else 0  # a gap remains one
        weights = resampling_weights(len(run), target_mm / spacing_mm)
        pairs += [
            BlendedPair(
                tuple((run[i], float(row[i])) for i in np.flatnonzero(row)), number
            )
            for number, row in enumerate(weights, start=first)
        ]
    facts = series_pair.facts
    if target_mm > spacing_mm:
        thickness_mm = max(facts.slice_thickness_mm or 0.0, target_mm)
        facts = replace(facts, slice_thickness_mm=thickness_mm)
    return replace(series_pair, pairs=tuple(pairs), facts=facts)


def _stack(series) -> tuple[float, list[slice]]:
    """The slice spacing in mm, and the runs of evenly spaced slices."""
    try:
        if isinstance(series, VolumePlace):
            volume = series.open()
            spacing_mm, runs = volume.spacing_mm[0], volume.runs
        elif series is not None:
            require_volume(series.sources, ReadOptions(allow_gaps=True))
            spacing_mm, runs = series.spacing_mm[0], even_runs(series.sources)
        else:
            spacing_mm, runs = np.nan, []
        if not spacing_mm > 0:
            raise CtKerasError("CTK-E037", "the slice spacing is unknown")
    except CtKerasError as error:
        raise CtKerasError(
            error.code,
            f"slices cannot be resampled: {error.message}",
            received=error.received,
            expected=error.expected,
            fix="omit the common slice spacing: resample_slices_mm "
            "(--resample-slices of convert)",
        ) from error
    return spacing_mm, runs


def _consecutive(
    pairs: Sequence[SourcePair], runs: Sequence[slice]
) -> Iterator[list[SourcePair]]:
    """Cuts slice pairs where slices are missing between them."""
    number_of = {
        index: number
        for number, run in enumerate(runs)
        for index in range(run.start, run.stop)
    }

    def stretch(item: tuple[int, SourcePair]) -> tuple[int, int]:
        place, pair = item
        return number_of[pair.slice_index], pair.slice_index - place

    for _, group in itertools.groupby(enumerate(pairs), key=stretch):
        yield [pair for _, pair in group]
