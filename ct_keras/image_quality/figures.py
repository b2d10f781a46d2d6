"""Plots of quality.json."""

from __future__ import annotations

import json
import math
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from ct_keras.files import atomic_folder

#: Colours that colour-blind readers can distinguish (Okabe and Ito, 2008).
_COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", (0, (6, 2)), (0, (6, 2, 1.5, 2)), (0, (1.5, 1.5)), (0, (3, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_WIDTH, _HEIGHT, _DPI = 4.2, 3.4, 120
_DOSE, _AUC = "dose in % of full dose", "AUC, Hotelling observer"
#: Style of curves that are too noisy to be reliable.
_FAINT = {"alpha": 0.35, "linewidth": 0.8}
_BARS = {"capsize": 2.5, "elinewidth": 1.1, "markersize": 4.5}
#: Share of the distance to the next position that the intervals of all methods fill.
_SPREAD, _WIDEST_STEP = 0.8, 0.1


def write_quality(
    document: Mapping, out: str | os.PathLike, *, overwrite: bool = False
) -> None:
    """Writes quality.json and its plots to a folder.

    Args:
        document: From `measure_quality`; the key "lcd_ct" holds the result of
            `measure_lcd`.
        out: A new or empty folder; gets quality.json, nnps.png, ttf.png, bias.png,
            dose_curves.png, and lcd_ct.png if LCD-CT was measured.
        overwrite: Whether a folder with content is replaced.

    Raises:
        CtKerasError: CTK-E071 or CTK-E073, if the folder is refused or full.
    """
    text = json.dumps(document, indent=1, allow_nan=False)
    with atomic_folder(out, overwrite=overwrite, kind="quality") as folder:
        (Path(folder) / "quality.json").write_text(text + "\n", encoding="utf-8")
        for name, figure in draw(document).items():
            figure.savefig(Path(folder) / f"{name}.png", dpi=_DPI)


def draw(document: Mapping) -> dict:
    """Returns matplotlib figures by name: nnps, ttf, bias, dose_curves, lcd_ct."""
    figures = {
        "nnps": _draw_nnps(document),
        "ttf": _draw_ttf(document),
        "bias": _draw_bias(document),
        "dose_curves": _draw_dose_curves(document),
    }
    if document.get("lcd_ct"):
        figures["lcd_ct"] = _draw_lcd(document)
    return figures


def method_style(index: int) -> dict:
    """Returns the style of a method in every plot, by its number; 0 is the input.

    The first 31 styles differ, and only the input is black.
    """
    return {
        "color": _COLORS[1 + (index - 1) % (len(_COLORS) - 1)] if index else _COLORS[0],
        "linestyle": _DASHES[index % len(_DASHES)],
        "marker": _MARKERS[index % len(_MARKERS)],
    }


def _panels(title: str, titles: Sequence[str], *, columns: int = 4):
    """Returns a figure and its axes, one for each title."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(columns, len(titles))
    rows = math.ceil(len(titles) / columns)
    size = (max(_WIDTH * columns, 6), _HEIGHT * rows + 0.8)
    figure = Figure(size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(textwrap.fill(title, round(13 * size[0])), fontsize=11)
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(len(titles))]
    for axis, text in zip(axes, titles, strict=True):
        axis.set_title(text, fontsize=10)
        axis.grid(alpha=0.3)
    return figure, axes


def _styles(document: Mapping) -> Iterator[tuple[str, dict, list]]:
    """Yields (method, style, its records)."""
    for index, (label, method) in enumerate(document["methods"].items()):
        yield label, method_style(index), method["doses"]


def _lines(document: Mapping) -> Iterator[tuple[str, dict, list]]:
    """As `_styles` for curves of many points: without markers."""
    for label, style, records in _styles(document):
        yield label, style | {"marker": "", "label": label}, records


def _doses(document: Mapping) -> list[str]:
    return [f"{100 * dose:g} % dose" for dose in document["plan"]["doses"]]


def _draw_nnps(document: Mapping):
    figure, axes = _panels("Noise texture of water", _doses(document))
    for _, style, records in _lines(document):
        for axis, record in zip(axes, records, strict=True):
            noise = record["noise"]
            axis.plot(noise["frequency_mm"], _numbers(noise["nnps_mm2"]), **style)
    for axis in axes:
        axis.set_ylim(bottom=0)
    _finish(figure, axes, "spatial frequency in 1/mm", "nNPS in mm²")
    return figure


def _draw_ttf(document: Mapping):
    """One panel for each rod and dose."""
    names = [found["name"] for found in _first_record(document)["ttf"]]
    titles = [f"{name}, {dose}" for dose in _doses(document) for name in names]
    title = "Sharpness: task transfer function of each rod; faint where the rod is too "
    title += "noisy for a reliable measure"
    figure, axes = _panels(title, titles, columns=len(names))
    for _, style, records in _lines(document):
        found = [transfer for record in records for transfer in record["ttf"]]
        for axis, transfer in zip(axes, found, strict=True):
            shown = style if transfer["reliable"] else style | _FAINT
            axis.plot(transfer["frequency_mm"], _numbers(transfer["ttf"]), **shown)
            axis.set_ylim(0, 1.3)
    _finish(figure, axes, "spatial frequency in 1/mm", "TTF")
    return figure


def _draw_bias(document: Mapping):
    names = [found["name"] for found in _first_record(document)["materials"]]
    title = "Bias of materials with 95 % intervals over scans"
    figure, axes = _panels(title, names, columns=3)
    for place, (label, style, records) in _placed(document):
        for index, axis in enumerate(axes):
            found = [record["materials"][index] for record in records]
            values = [each["bias_hu"] for each in found]
            limits = [each["bias_interval_hu"] for each in found]
            _errorbar(axis, place, values, limits, style | {"label": label})
    for axis in axes:
        axis.axhline(0, color="#808080", linewidth=0.8)
        _dose_ticks(axis, document)
    _finish(figure, axes, _DOSE, "mean minus nominal value in HU")
    return figure


def _draw_dose_curves(document: Mapping):
    curves = document["dose_curves"]
    title = "Detectability of low-contrast discs with 95 % intervals over images"
    figure, axes = _panels(title, [f"disc of {insert}" for insert in curves])
    last = _doses(document)[-1]
    for axis, methods in zip(axes, curves.values(), strict=True):
        for place, (label, style, _) in _placed(document):
            found = methods[label]
            limits = found["auc_interval"]
            _errorbar(axis, place, found["auc"], limits, style | {"label": label})
        (label, full), *_ = methods.items()
        style = {"color": "#808080", "linestyle": ":", "linewidth": 1.2}
        axis.axhline(full["auc"][-1], label=f"{label} at {last}", **style)
        _dose_ticks(axis, document)
    _finish(figure, axes, _DOSE, _AUC)
    _same_range(axes)
    return figure


def _draw_lcd(document: Mapping):
    """One panel for each dose and set of channels, one position for each insert."""
    panels: dict[tuple, list] = {}
    for record in document["lcd_ct"]:
        panels.setdefault((record["dose"], record["channels"]), []).append(record)
    title = "LCD-CT: detectability of the inserts with 95 % intervals over images"
    titles = [f"{100 * dose:g} % dose, {channels}" for dose, channels in panels]
    figure, axes = _panels(title, titles)
    inserts = list(dict.fromkeys(record["insert"] for record in document["lcd_ct"]))
    methods = list(_styles(document))
    for axis, records in zip(axes, panels.values(), strict=True):
        for index, (label, style, _) in enumerate(methods):
            found = [record for record in records if record["method"] == label]
            aside = _aside(index, len(methods))
            places = [inserts.index(record["insert"]) + aside for record in found]
            values = [record["auc"] for record in found]
            limits = [record["auc_interval"] for record in found]
            shown = style | {"label": label, "linestyle": ""}
            _errorbar(axis, places, values, limits, shown)
        style = {"color": "#808080", "linestyle": ":", "linewidth": 1.2}
        axis.axhline(0.5, label="guessing", **style)
        names = [textwrap.wrap(insert.split(" HU ")[1], 12) for insert in inserts]
        heads = [insert.split(" HU ")[0] + " HU" for insert in inserts]
        texts = ["\n".join([head, *n]) for head, n in zip(heads, names, strict=True)]
        axis.set_xticks(range(len(inserts)), texts, fontsize=9)
        axis.set_xlim(-0.5, len(inserts) - 0.5)
    _finish(figure, axes, "contrast and diameter of the insert", _AUC)
    _same_range(axes)
    return figure


def _placed(document: Mapping) -> Iterator[tuple[list[float], tuple]]:
    """Yields the positions of the doses of each method in %, and its style."""
    doses = [100 * dose for dose in document["plan"]["doses"]]
    ratio, methods = _ratio(doses), list(_styles(document))
    for index, method in enumerate(methods):
        aside = ratio ** _aside(index, len(methods))
        yield [dose * aside for dose in doses], method


def _ratio(doses: Sequence[float]) -> float:
    """Returns the smallest ratio of neighbouring doses."""
    return min((high / low for low, high in pairwise(doses)), default=2.0)


def _aside(index: int, count: int) -> float:
    """Returns the offset of one of several methods from its position."""
    return min(_WIDEST_STEP, _SPREAD / count) * (index - (count - 1) / 2)


def _dose_ticks(axis, document: Mapping) -> None:
    doses = [100 * dose for dose in document["plan"]["doses"]]
    axis.set_xscale("log")
    axis.set_xticks(doses, [f"{dose:g}" for dose in doses])
    axis.set_xticks([], minor=True)
    margin = _ratio(doses) ** 0.6
    axis.set_xlim(doses[0] / margin, doses[-1] * margin)


def _errorbar(axis, places, values, limits, style: Mapping) -> None:
    values = _numbers(values)
    ends = [_numbers(each) for each in limits]
    # A bootstrap interval need not contain the estimate.
    reach = [
        [max(0.0, value - low) for value, (low, _) in zip(values, ends, strict=True)],
        [max(0.0, high - value) for value, (_, high) in zip(values, ends, strict=True)],
    ]
    axis.errorbar(places, values, reach, **_BARS, **style)


def _same_range(axes) -> None:
    """Sets the same range in all AUC panels, which shows every interval."""
    low = min(axis.get_ylim()[0] for axis in axes)
    for axis in axes:
        axis.set_ylim(low, 1.03)


def _first_record(document: Mapping) -> Mapping:
    return next(iter(document["methods"].values()))["doses"][0]


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _finish(figure, axes, across: str, up: str) -> None:
    for axis in axes:
        axis.set_xlabel(across)
        axis.set_ylabel(up)
    handles, labels = axes[0].get_legend_handles_labels()
    # Methods first: matplotlib puts plain lines before those with intervals.
    order = sorted(
        range(len(labels)), key=lambda index: handles[index] in axes[0].lines
    )
    handles, labels = [handles[i] for i in order], [labels[i] for i in order]
    # As many per row as fit, in inches.
    width = 0.75 + 0.075 * max(len(label) for label in labels)
    columns = max(1, min(len(labels), int(figure.get_figwidth() / width)))
    place = {"loc": "outside lower center", "ncols": columns, "fontsize": "small"}
    figure.legend(handles, labels, handlelength=3.5, **place)
