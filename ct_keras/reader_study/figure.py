"""Plot of how often each score was given, by criterion and method."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping

from ct_keras.files import atomic_file
from ct_keras.reader_study.criteria import CRITERIA, SCORES

#: From unacceptable to excellent; distinguishable without red and green.
_COLOURS = ("#8c510a", "#d8b365", "#e3e3e3", "#80bdb3", "#01665e")
_INTERVAL = "#9a9a9a"
_COLUMNS = 2
#: Layout right of the bars (100 %): position of mean 1, width of a point, text.
_MEAN_AT, _POINT, _TEXT_AT, _END = 115, 16, 185, 224


def draw_scores(document: Mapping, path: str | os.PathLike) -> None:
    """Draws stacked bars of the scores, with their means and intervals, as PNG.

    Args:
        document: From `score_study`.
        path: The file to write.

    Raises:
        CtKerasError: CTK-E073, if it cannot be written.
    """
    from matplotlib.figure import Figure

    criteria = list(dict.fromkeys(row["criterion"] for row in document["summary"]))
    methods = list(dict.fromkeys(row["method"] for row in document["summary"]))
    lines = -(-len(criteria) // _COLUMNS)
    height = 1.1 + 0.34 * len(methods)
    figure = Figure(figsize=(12, 0.9 + height * lines), layout="constrained")
    panels = figure.subplots(lines, _COLUMNS, squeeze=False, sharey=True).ravel()
    for panel in panels[len(criteria) :]:
        panel.set_axis_off()
    for panel, criterion in zip(panels, criteria, strict=False):
        rows = [row for row in document["summary"] if row["criterion"] == criterion]
        _draw_criterion(panel, rows, methods)
        panel.set_title(CRITERIA[criterion].title, loc="left", fontsize=10)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower left",
        ncols=len(SCORES),
        title="Score, 1 unacceptable to 5 excellent",
        title_fontsize=9,
        alignment="left",
        frameon=False,
        fontsize=9,
    )
    counts = {
        "reader": len(document["readers"]),
        "patient": document["patients"],
        "case": document["cases"],
    }
    sizes = ", ".join(f"{n} {what}{'s' if n > 1 else ''}" for what, n in counts.items())
    head = f"{document['title']}: {sizes}. {document['notice']}"
    figure.suptitle(
        f"{textwrap.fill(head, 110)}\nHow often each score was given; tick, bar and "
        "numbers: mean and 95 % interval over patients.",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _draw_criterion(panel, rows: list[Mapping], methods: list[str]) -> None:
    places = range(len(methods))
    left = [0.0] * len(methods)
    for number, score in enumerate(SCORES):
        shares = [100 * row["counts"][number] / row["ratings"] for row in rows]
        colour = _COLOURS[number]
        panel.barh(places, shares, 0.7, left, color=colour, label=str(score))
        left = [start + share for start, share in zip(left, shares, strict=True)]
    panel.vlines(
        [_place_of(score) for score in SCORES],
        *(-0.5, len(methods) - 0.5),
        color="#e3e3e3",
        linewidth=0.8,
        zorder=0,
    )
    for place, row in zip(places, rows, strict=True):
        text = f"{row['mean']:.2f}"
        if row["mean_ci95"]:
            text += "  [{:.2f}, {:.2f}]".format(*row["mean_ci95"])
            ends = map(_place_of, row["mean_ci95"])
            panel.hlines(place, *ends, color=_INTERVAL, linewidth=5)
        panel.plot(_place_of(row["mean"]), place, "k|", markersize=9)
        panel.text(_TEXT_AT, place, text, va="center", fontsize=8.5)
    panel.set_yticks(list(places), methods)
    panel.set_ylim(len(methods) - 0.5, -0.5)
    panel.set_xlim(0, _END)
    shares = {share: f"{share} %" for share in (0, 25, 50, 75, 100)}
    ticks = shares | {_place_of(score): str(score) for score in SCORES}
    panel.set_xticks(list(ticks), list(ticks.values()))
    panel.tick_params(labelsize=8.5, length=0)
    panel.spines["bottom"].set_bounds(0, 100)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)


def _place_of(mean: float) -> float:
    return _MEAN_AT + _POINT * (mean - SCORES[0])
