"""quality.json as pictures, and as a table."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ct_keras.files import atomic_folder

#: Colours that also colour-blind readers tell apart (Okabe and Ito, 2008).
_COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_WIDTH, _HEIGHT, _DPI = 4.2, 3.4, 120


def write_quality(
    document: Mapping, out: str | os.PathLike, *, overwrite: bool = False
) -> None:
    """Writes quality.json and its plots into a folder.

    Args:
        document: From `measure_quality`.
        out: A new or empty folder; gets quality.json, nnps.png, ttf.png, bias.png,
            dose_curves.png.
        overwrite: Whether a folder with content is replaced.

    Raises:
        CtKerasError: CTK-E071 or CTK-E073, if the folder is refused or full.
    """
    text = json.dumps(document, indent=1, allow_nan=False)
    with atomic_folder(out, overwrite=overwrite) as folder:
        (Path(folder) / "quality.json").write_text(text + "\n", encoding="utf-8")
        for name, figure in draw(document).items():
            figure.savefig(Path(folder) / f"{name}.png", dpi=_DPI)


def draw(document: Mapping) -> dict:
    """Returns matplotlib figures by name: nnps, ttf, bias, dose_curves."""
    return {
        "nnps": _draw_nnps(document),
        "ttf": _draw_ttf(document),
        "bias": _draw_bias(document),
        "dose_curves": _draw_dose_curves(document),
    }


def summary_rows(document: Mapping) -> tuple[list[str], list[list[str]]]:
    """Returns the columns and rows of a table, one row per method and dose."""
    first = document["plan"]["channels"][0]
    columns, rows = [], []
    for label, method in document["methods"].items():
        for record in method["doses"]:
            noise = record["noise"]
            tasks = record["detectability"]
            columns = ["method", "dose", "SD HU", "bias HU", "nNPS mean 1/mm"]
            columns += [f"f50 {found['name']}" for found in record["ttf"]]
            columns += [f"AUC {task['insert']}" for task in tasks]
            cells = [f"{record['dose']:g}", _text(noise["sd_hu"], 1)]
            cells += [_text(noise["bias_hu"], 2), _text(noise["mean_frequency_mm"], 3)]
            cells += [_transfer_text(found) for found in record["ttf"]]
            cells += [_text(task["cho"][first]["auc"], 3) for task in tasks]
            rows.append([label, *cells])
    return columns, rows


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _transfer_text(found: Mapping) -> str:
    return _text(found["f50_mm"] if found["reliable"] else None, 3)


def _panels(titles: Sequence[str], *, columns: int = 4):
    """Returns a figure and its axes, one for each title."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(columns, len(titles))
    rows = math.ceil(len(titles) / columns)
    figure = Figure((_WIDTH * columns, _HEIGHT * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(len(titles))]
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title)
        axis.grid(alpha=0.3)
    return figure, axes


def _styles(document: Mapping):
    """Yields (method, colour, its records)."""
    for index, (label, method) in enumerate(document["methods"].items()):
        yield label, _COLORS[index % len(_COLORS)], method["doses"]


def _doses(document: Mapping) -> list[str]:
    return [f"dose {dose:g}" for dose in document["plan"]["doses"]]


def _draw_nnps(document: Mapping):
    figure, axes = _panels(_doses(document))
    for label, color, records in _styles(document):
        for axis, record in zip(axes, records, strict=True):
            noise = record["noise"]
            frequency, power = noise["frequency_mm"], noise["nnps_mm2"]
            axis.plot(frequency, _numbers(power), color=color, label=label)
    _finish(axes, "cycles per mm", "nNPS in mm²")
    return figure


def _draw_ttf(document: Mapping):
    """One panel for each rod and dose; what was too noisy to measure is dotted."""
    names = [found["name"] for found in _first_record(document)["ttf"]]
    titles = [f"{name}, {dose}" for dose in _doses(document) for name in names]
    figure, axes = _panels(titles, columns=len(names))
    for label, color, records in _styles(document):
        found = [transfer for record in records for transfer in record["ttf"]]
        for axis, transfer in zip(axes, found, strict=True):
            style = "-" if transfer["reliable"] else ":"
            frequency, values = transfer["frequency_mm"], _numbers(transfer["ttf"])
            axis.plot(frequency, values, style, color=color, label=label)
            axis.set_ylim(0, 1.3)
    _finish(axes, "cycles per mm", "TTF")
    return figure


def _draw_bias(document: Mapping):
    names = [found["name"] for found in _first_record(document)["materials"]]
    figure, axes = _panels(names, columns=len(names))
    for label, color, records in _styles(document):
        doses = [record["dose"] for record in records]
        for index, axis in enumerate(axes):
            values = [record["materials"][index]["bias_hu"] for record in records]
            axis.plot(doses, _numbers(values), "o-", color=color, label=label)
            axis.set_xscale("log")
    _finish(axes, "dose", "mean less nominal, HU")
    return figure


def _draw_dose_curves(document: Mapping):
    """AUC against dose; the dashed line is the input at its highest dose."""
    curves = document["dose_curves"]
    figure, axes = _panels([f"disc {insert}" for insert in curves])
    for axis, methods in zip(axes, curves.values(), strict=True):
        for label, color, _ in _styles(document):
            curve = methods[label]
            low, high = zip(*curve["auc_interval"], strict=True)
            axis.plot(curve["doses"], curve["auc"], "o-", color=color, label=label)
            axis.fill_between(curve["doses"], low, high, color=color, alpha=0.12)
        full = next(iter(methods.values()))["auc"][-1]
        axis.axhline(full, color="#000000", linestyle="--", linewidth=0.8)
        axis.set_xscale("log")
        axis.set_ylim(0.3, 1.02)
    _finish(axes, "dose", "AUC of the Hotelling observer")
    return figure


def _first_record(document: Mapping) -> Mapping:
    return next(iter(document["methods"].values()))["doses"][0]


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _finish(axes, across: str, up: str) -> None:
    for axis in axes:
        axis.set_xlabel(across)
        axis.set_ylabel(up)
    axes[0].legend(fontsize="small")
