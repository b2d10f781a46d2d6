"""Curves of image quality and of metrics against dose, laid out for the page.

A curve is a mapping, as in JSON::

    {"title": "NPS, liver", "x_label": "frequency (1/mm)", "y_label": "NPS (HU² mm²)",
     "series": {"input": [[0.0, 0.1], [0.1, 9.5]], "red_cnn": [[0.0, 0.1, 0.05, 0.2]]}}

A point is [x, y] or [x, y, low, high], where low and high are an interval of y. An
undefined x or y is None and leaves a gap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ct_keras.errors import CtKerasError
from ct_keras.metrics.metric import MAIN_METRICS, METRICS
from ct_keras.report.plots import Line, nice_ticks, pieces_of
from ct_keras.report.tables import interval

WIDTH, HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 28, 44
#: Lines with at most this many points show a dot for each.
_MOST_DOTS = 16
#: Horizontal offset between lines with intervals, and the maximum total offset.
_APART, _ALL_APART = 4.0, 24.0


@dataclass(frozen=True)
class CurveLine(Line):
    """One series: its line, intervals, values as text and horizontal offset.

    Without the offset, the intervals of the methods at one dose would overlap.
    """

    bars: tuple[tuple[float, float, float], ...]
    values: tuple[tuple[str, str, str], ...]
    shift: float = 0.0


@dataclass(frozen=True)
class CurvePlot:
    """A whole drawing; ticks are (place, text)."""

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[CurveLine, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM

    @property
    def has_bars(self) -> bool:
        """Whether any point has an interval."""
        return any(line.bars for line in self.lines)


@dataclass(frozen=True)
class CurveGroup:
    """A section of the page: plots that share a legend."""

    id: str
    title: str
    text: str
    legend: tuple[tuple[int, str], ...]
    curves: tuple[CurvePlot, ...]


def curve_groups(
    document: Mapping, models: Sequence[str], curves: Mapping[str, Mapping]
) -> list[CurveGroup]:
    """Returns the sections with curves: metrics against dose, and the given curves.

    Args:
        document: What ``metrics.json`` holds.
        models: The models in the order of their colours.
        curves: Name -> curve.

    Returns:
        The sections that have something to show.

    Raises:
        CtKerasError: CTK-E005, if a curve is not what it should be.
    """
    found = [
        _group(
            "dose",
            "Dose curves",
            "Mean over patients against the dose of the input, protocol report, with "
            "95 % bootstrap intervals over patients if there are several.",
            dose_curves(document),
            models,
        ),
        _group(
            "quality",
            "Image quality",
            "Measures of noise, resolution and detectability; see quality.json.",
            curves,
            models,
        ),
    ]
    return [group for group in found if group.curves]


def dose_curves(document: Mapping) -> dict[str, dict]:
    """Returns curves of the main metrics against dose, if there are several doses."""
    doses = [dose for dose in document["doses"] if dose is not None]
    if len(doses) < 2:
        return {}
    curves = {}
    for metric in MAIN_METRICS:
        series: dict[str, list] = {}
        for row in sorted(
            (row for row in document["by_dose"] if row["dose_fraction"] is not None),
            key=lambda row: row["dose_fraction"],
        ):
            point = [100 * row["dose_fraction"], row[metric]]
            point += row[f"{metric}_ci95"] or []
            series.setdefault(row["model"], []).append(point)
        curves[metric] = {
            "title": f"{METRICS[metric].label} against dose",
            "x_label": "dose (%)",
            "y_label": METRICS[metric].head,
            "series": series,
        }
    return curves


def curve_plot(name: str, curve: Mapping, order: Sequence[str]) -> CurvePlot:
    """Lays out a curve.

    Args:
        name: The name under which the curve was given.
        curve: See the docstring of this module.
        order: All series of the page in the order of their colours.

    Returns:
        The drawing, with its lines in the order of their colours.

    Raises:
        CtKerasError: CTK-E005, if `curve` is not what it should be.
    """
    series = {key: _points(name, rows) for key, rows in _series(name, curve).items()}
    shown = [point for points in series.values() for point in points if _whole(point)]
    if not shown:
        raise _refusal(name, "no point has a finite x and y")
    x_ticks = _ticks([point[0] for point in shown])
    y_ticks = _ticks([value for point in shown for value in point[1:]])
    lines = [
        _line(order.index(key), key, points, x_ticks, y_ticks)
        for key, points in series.items()
    ]
    return CurvePlot(
        title=str(curve["title"]),
        x_label=str(curve["x_label"]),
        y_label=str(curve["y_label"]),
        x_ticks=tuple((_x_of(tick, x_ticks), _text(tick)) for tick in x_ticks),
        y_ticks=tuple((_y_of(tick, y_ticks), _text(tick)) for tick in y_ticks),
        lines=_side_by_side(sorted(lines, key=lambda line: line.index)),
    )


def _side_by_side(lines: Sequence[CurveLine]) -> tuple[CurveLine, ...]:
    if not any(line.bars for line in lines):
        return tuple(lines)
    step = min(_APART, _ALL_APART / len(lines))
    middle = (len(lines) - 1) / 2
    return tuple(
        replace(line, shift=round(step * (place - middle), 1))
        for place, line in enumerate(lines)
    )


def _group(
    group_id: str,
    title: str,
    text: str,
    curves: Mapping[str, Mapping],
    models: Sequence[str],
) -> CurveGroup:
    names = [key for name, curve in curves.items() for key in _series(name, curve)]
    order = list(dict.fromkeys((*models, *names)))
    legend = [(place, name) for place, name in enumerate(order) if name in names]
    plots = [curve_plot(name, curve, order) for name, curve in curves.items()]
    return CurveGroup(group_id, title, text, tuple(legend), tuple(plots))


def _series(name: str, curve: Mapping) -> Mapping[str, Sequence]:
    keys = ("title", "x_label", "y_label", "series")
    if not isinstance(curve, Mapping) or any(key not in curve for key in keys):
        raise _refusal(name, f"a curve has the keys {', '.join(keys)}")
    if not isinstance(curve["series"], Mapping):
        raise _refusal(name, "series is not a mapping from names to points")
    return curve["series"]


def _points(name: str, rows: Sequence) -> list[tuple[float, ...]]:
    try:
        points = [tuple(map(_float, row)) for row in rows]
    except (TypeError, ValueError) as error:
        raise _refusal(name, str(error)) from error
    if any(len(point) not in (2, 4) for point in points):
        raise _refusal(name, "a point is [x, y] or [x, y, low, high]")
    return points


def _float(value: object) -> float:
    return math.nan if value is None else float(value)


def _refusal(name: str, reason: str) -> CtKerasError:
    return CtKerasError(
        "CTK-E005",
        "a curve of the report cannot be read",
        received=f"{name}: {reason}",
        expected='{"title", "x_label", "y_label", "series": {name: [[x, y], ...]}}',
    )


def _whole(point: Sequence[float]) -> bool:
    return all(map(math.isfinite, point))


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers around the values, from 0 if that takes little space."""
    low, high = min(values), max(values)
    if 0 < low < 0.5 * high:
        low = 0.0
    return nice_ticks(low, high, least=max(abs(high), abs(low), 1e-9) / 100)


def _x_of(value: float, ticks: Sequence[float]) -> float:
    share = (value - ticks[0]) / (ticks[-1] - ticks[0])
    return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)


def _y_of(value: float, ticks: Sequence[float]) -> float:
    share = (value - ticks[0]) / (ticks[-1] - ticks[0])
    return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)


def _text(value: float) -> str:
    return f"{value:.5g}".replace("-", "−")


def _line(index, name, points, x_ticks, y_ticks) -> CurveLine:
    places = [
        (_x_of(point[0], x_ticks), _y_of(point[1], y_ticks))
        if math.isfinite(point[0] + point[1])
        else None
        for point in points
    ]
    texts = [(_text(point[0]), _text(point[1])) for point in points]
    found = [each for each in zip(points, places, texts, strict=True) if each[1]]
    return CurveLine(
        index=index,
        name=name,
        pieces=pieces_of(places, texts),
        dots=tuple(place for _, place, _ in found) if len(found) <= _MOST_DOTS else (),
        bars=tuple(
            (place[0], *(_y_of(end, y_ticks) for end in point[2:]))
            for point, place, _ in found
            if len(point) == 4 and _whole(point)
        ),
        values=tuple(
            (x, y, interval(point[2:], 4) if len(point) == 4 and _whole(point) else "")
            for point, _, (x, y) in found
        ),
    )
