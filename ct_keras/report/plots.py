"""Layout of PSNR per slice as an inline drawing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ct_keras.report.tables import dose_label, short_name

WIDTH, HEIGHT = 1200, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 26, 40
_GAP = 14
_COLOURS = 7
#: A group of slices narrower than this many pixels has no label.
_LABEL_WIDTH = 110


@dataclass(frozen=True)
class Piece:
    """A line without gaps: SVG points and their values."""

    points: str
    x: str
    y: str


@dataclass(frozen=True)
class Line:
    """One model in one plot: its pieces, and dots if there are few points."""

    index: int
    name: str
    pieces: tuple[Piece, ...]
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Facet:
    """The slices of one patient at one dose, side by side with the others."""

    label: str
    left: float
    width: float
    first: str
    last: str
    lines: tuple[Line, ...]
    show_label: bool


@dataclass(frozen=True)
class Plot:
    """A complete drawing: its facets and grid lines."""

    width: int
    height: int
    top: float
    bottom: float
    left: float
    right: float
    ticks: tuple[tuple[float, str], ...]
    facets: tuple[Facet, ...]


def psnr_plot(records: Sequence[Mapping], models: Sequence[str]) -> Plot | None:
    """Lays out PSNR against slice, one facet per patient and dose.

    Args:
        records: One per slice and model, in the order of their slices.
        models: The models in the order of their colours.

    Returns:
        The drawing, or None if no slice has a finite PSNR.
    """
    values = [r["psnr"] for r in records if math.isfinite(r["psnr"])]
    if not values:
        return None
    ticks = nice_ticks(min(values), max(values))
    bottom = HEIGHT - _BOTTOM

    def y_of(value: float) -> float:
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return round(bottom - share * (bottom - _TOP), 1)

    groups = _groups(records)
    gap = min(_GAP, 300 / len(groups))
    space = WIDTH - _LEFT - _RIGHT - gap * (len(groups) - 1)
    sizes = [math.sqrt(len(group)) for group in groups.values()]
    facets, left = [], float(_LEFT)
    for (head, group), size in zip(groups.items(), sizes, strict=True):
        width = space * size / sum(sizes)
        facets.append(_facet(head, group, models, left, width, y_of))
        left += width + gap
    return Plot(
        width=WIDTH,
        height=HEIGHT,
        top=_TOP,
        bottom=bottom,
        left=_LEFT,
        right=WIDTH - _RIGHT,
        ticks=tuple((y_of(tick), f"{tick:g}") for tick in ticks),
        facets=tuple(facets),
    )


def nice_ticks(low: float, high: float, *, least: float = 0.5) -> list[float]:
    """Returns three to eight round numbers that enclose the range.

    Args:
        low: The smallest value.
        high: The largest value.
        least: The minimum span of the ticks.

    Example:
        >>> nice_ticks(21.3, 34.9)
        [20.0, 25.0, 30.0, 35.0]
    """
    span = max(high - low, least)
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= 5)
    digits = max(6, 2 - math.floor(math.log10(step)))
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    return [round(index * step, digits) for index in range(first, last + 1)]


def series_class(index: int) -> str:
    """Returns the style of a line: 0 is the input, then seven colours in three styles.

    Example:
        >>> series_class(0), series_class(7), series_class(8)
        ('s0', 's7', 's1 again1')
    """
    if index == 0:
        return "s0"
    turn, colour = divmod(index - 1, _COLOURS)
    return f"s{colour + 1}" + (f" again{min(turn, 2)}" if turn else "")


def pieces_of(
    points: Sequence[tuple[float, float] | None], values: Sequence[tuple[str, str]]
) -> tuple[Piece, ...]:
    """Splits a line where a point is missing.

    Args:
        points: SVG coordinates, or None.
        values: x and y of every point, as text without spaces.

    Returns:
        The lines between the gaps.
    """
    pairs = zip(points, values, strict=True)
    runs = itertools.groupby(pairs, key=lambda pair: pair[0] is None)
    pieces = []
    for _, run in ((gap, list(run)) for gap, run in runs if not gap):
        pieces.append(
            Piece(
                points=" ".join(f"{x},{y}" for (x, y), _ in run),
                x=" ".join(x for _, (x, _) in run),
                y=" ".join(y for _, (_, y) in run),
            )
        )
    return tuple(pieces)


def _groups(records: Sequence[Mapping]) -> dict[tuple, list[tuple]]:
    """(patient, dose) -> its slices in order: (series, index) and PSNR by model."""
    groups: dict[tuple, dict[tuple, dict[str, float]]] = {}
    for record in records:
        group = groups.setdefault((record["case"], record["dose_fraction"]), {})
        where = (record["series"], record["slice_index"])
        group.setdefault(where, {})[record["model"]] = record["psnr"]
    return {
        head: sorted(group.items(), key=lambda item: item[0])
        for head, group in groups.items()
    }


def _facet(head, group, models, left, width, y_of) -> Facet:
    patient, dose = head
    step = width / max(len(group) - 1, 1)
    start = left if len(group) > 1 else left + width / 2
    lines = []
    for index, model in enumerate(models):
        values = [found.get(model, math.nan) for _, found in group]
        points = [
            (round(start + step * place, 1), y_of(value))
            if math.isfinite(value)
            else None
            for place, value in enumerate(values)
        ]
        texts = [
            (str(where[1]), f"{value:.2f}")
            for (where, _), value in zip(group, values, strict=True)
        ]
        dots = tuple(filter(None, points)) if step > 12 else ()
        lines.append(Line(index, model, pieces_of(points, texts), dots))
    slices = [where[1] for where, _ in group]
    return Facet(
        label=f"{short_name(patient)}, {dose_label(dose)}",
        left=round(left, 1),
        width=round(width, 1),
        first=str(slices[0]),
        last=str(slices[-1]) if len(slices) > 1 else "",
        lines=tuple(lines),
        show_label=width >= _LABEL_WIDTH,
    )
