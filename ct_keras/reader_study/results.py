"""Writes the results of a study: scores.json, ratings.csv, scores.png and tables."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence

import numpy as np

from ct_keras.files import atomic_folder, write_text
from ct_keras.reader_study.answers import Ratings
from ct_keras.reader_study.criteria import FULL_DOSE
from ct_keras.reader_study.figure import draw_scores

Table = tuple[str, list[str], list[list[str]]]


def write_results(
    document: Mapping,
    key: Mapping,
    ratings: Ratings,
    out: str | os.PathLike,
    *,
    overwrite: bool = False,
) -> None:
    """Writes the folder of a scored study.

    Args:
        document: From `score_study`; written to ``scores.json``.
        key: Key of the study.
        ratings: Written to ``ratings.csv``, one line per score, for other statistics.
        out: The folder, which also gets ``scores.png``.
        overwrite: Replace a folder with content.

    Raises:
        CtKerasError: CTK-E071 or E073 for `out`.
    """
    with atomic_folder(out, overwrite=overwrite, kind="scores") as folder:
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
        write_text(folder / "scores.json", text + "\n")
        write_text(folder / "ratings.csv", _csv(key, ratings))
        draw_scores(document, folder / "scores.png")


def result_tables(document: Mapping) -> list[Table]:
    """Returns the tables for a terminal: title, columns, rows of text."""
    criteria = list(dict.fromkeys(row["criterion"] for row in document["summary"]))
    methods = list(dict.fromkeys(row["method"] for row in document["summary"]))
    cells = {(row["method"], row["criterion"]): row for row in document["summary"]}
    medians = [
        [method, *(_median(cells[method, criterion]) for criterion in criteria)]
        for method in methods
    ]
    areas = {(row["method"], row["criterion"]): row for row in document["vgc"]}
    against = [
        [
            row["method"],
            row["criterion"],
            _signed(row["mean_difference"]),
            _ends(row["ci95"], signed=True),
            _p(row["p"]),
            _p(row["p_holm"]),
            _area(areas[row["method"], row["criterion"]]),
            _verdict(row),
        ]
        for row in document["pairs"]
        if row["versus"] == FULL_DOSE
    ]
    percent = [
        [row["method"], f"{row['percent']:.0f} %", _ends(row["ci95"], digits=0)]
        for row in document["percent_of_normal_dose"]
    ]
    asked = ("As good as normal dose?", ["Method", "Percent", "95 % interval"], percent)
    return [
        ("Median score and 95 % interval", ["Method", *criteria], medians),
        *([asked] if percent else []),
        (
            "Do the methods differ? Friedman test",
            ["Criterion", "Chi-squared", "p", "p (Holm)", "Kendall W"],
            [
                [
                    row["criterion"],
                    _number(row["chi2"]),
                    _p(row["p"]),
                    _p(row["p_holm"]),
                    _number(row["kendall_w"]),
                ]
                for row in document["friedman"]
            ],
        ),
        (
            "Against the full dose (the other pairs are in scores.json)",
            [
                *("Method", "Criterion", "Difference", "95 % interval"),
                *("p", "p (Holm)", "VGC area", "Non-inferior"),
            ],
            against,
        ),
        ("Agreement, all criteria together", *_agreement(document["agreement"])),
        ("Findings and preference, share of readings", *_shares(document)),
    ]


def _agreement(agreement: Mapping) -> tuple[list[str], list[list[str]]]:
    def of_all(kind: str) -> list[Mapping]:
        return [row for row in agreement[kind] if row["criterion"] == "all"]

    rows = [
        [f"{row['reader']}, repeated", "weighted kappa", row["kappa"], row]
        for row in of_all("intra")
        if row["pairs"]
    ]
    rows += [
        [" and ".join(row["readers"]), "weighted kappa", row["kappa"], row]
        for row in of_all("inter")
    ]
    rows += [["all readers", "alpha", row["alpha"], row] for row in of_all("alpha")]
    sums = agreement["icc"]
    if sums is not None:
        rows.append(["all readers", "ICC(2,1) of sums", sums["icc"], sums])
    text = [[name, kind, _number(v), _ends(row["ci95"])] for name, kind, v, row in rows]
    return ["Readers", "Measure", "Value", "95 % interval"], text


def _shares(document: Mapping) -> tuple[list[str], list[list[str]]]:
    columns = ["Method", "Structure appears", "Structure lost", "Preferred"]
    preferred = {row["method"]: row for row in document["preference"]}
    rows = []
    for row in document["findings"]:
        chosen = preferred[row["method"]]
        rows.append(
            [
                row["method"],
                f"{row['appears']:.0%} {_percent(row['appears_ci95'])}",
                f"{row['lost']:.0%} {_percent(row['lost_ci95'])}",
                f"{chosen['share']:.0%} {_percent(chosen['ci95'])}",
            ]
        )
    return columns, rows


def _median(row: Mapping) -> str:
    return f"{row['median']:g} {_ends(row['median_ci95'], digits=1)}".strip()


def _area(row: Mapping) -> str:
    return f"{row['area']:.2f} {_ends(row['ci95'])}".strip()


def _verdict(row: Mapping) -> str:
    if "non_inferior" not in row:
        return ""
    return {None: "too few", True: "yes", False: "not shown"}[row["non_inferior"]]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _ends(ci95: Sequence[float] | None, *, digits: int = 2, signed=False) -> str:
    if ci95 is None:
        return ""
    sign = "+" if signed else ""
    low, high = (f"{end:{sign}.{digits}f}".replace("-", "−") for end in ci95)
    return f"[{low}, {high}]"


def _percent(ci95: Sequence[float] | None) -> str:
    return "" if ci95 is None else f"[{ci95[0]:.0%}, {ci95[1]:.0%}]"


def _csv(key: Mapping, ratings: Ratings) -> str:
    """One line per score, as input for mixed models in other tools."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["reader", "case", "series", "slice_index", "dose_fraction", "repeat"]
    writer.writerow([*head, "method", "criterion", "score"])
    for repeat, scores in enumerate((ratings.scores, ratings.repeated)):
        for c, r, n, a in np.argwhere(~np.isnan(scores)):
            case = key["cases"][n]
            writer.writerow(
                [
                    ratings.readers[r],
                    case["case"],
                    case["series"],
                    case["slice_index"],
                    case["dose_fraction"],
                    repeat,
                    ratings.arms[a],
                    ratings.criteria[c],
                    int(scores[c, r, n, a]),
                ]
            )
    return text.getvalue()
