"""PSNR per slice as a drawing that a page can hold inline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ct_keras.evaluation.tables import dose_label, short_name

WIDTH, HEIGHT = 1200, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 26, 40
_GAP = 14
#: Below this many pixels a group of slices gets no text of its own.
_LABEL_WIDTH = 110


@dataclass(frozen=True)
class Line:
    """One model in one group: SVG points, and the dots where there are few."""

    model: int
    points: str
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
    """A whole drawing: its facets and the lines of its grid."""

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


def nice_ticks(low: float, high: float) -> list[float]:
    """Returns three to eight round numbers that enclose low to high.

    Example:
        >>> nice_ticks(21.3, 34.9)
        [20.0, 25.0, 30.0, 35.0]
    """
    span = max(high - low, 0.5)
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= 5)
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    return [round(index * step, 6) for index in range(first, last + 1)]


def _groups(records: Sequence[Mapping]) -> dict[tuple, list[tuple]]:
    """(case, dose) -> its slices in order: (series, index) and PSNR by model."""
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
    case, dose = head
    step = width / max(len(group) - 1, 1)
    start = left if len(group) > 1 else left + width / 2
    lines = []
    for index, model in enumerate(models):
        points = [
            (round(start + step * place, 1), y_of(found[model]))
            for place, (_, found) in enumerate(group)
            if math.isfinite(found.get(model, math.nan))
        ]
        text = " ".join(f"{x},{y}" for x, y in points)
        lines.append(Line(index, text, tuple(points) if step > 12 else ()))
    slices = [where[1] for where, _ in group]
    return Facet(
        label=f"{short_name(case)}, {dose_label(dose)}",
        left=round(left, 1),
        width=round(width, 1),
        first=str(slices[0]),
        last=str(slices[-1]) if len(slices) > 1 else "",
        lines=tuple(lines),
        show_label=width >= _LABEL_WIDTH,
    )
