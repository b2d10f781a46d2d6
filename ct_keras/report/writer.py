"""Writes an evaluation to a folder: metrics.json, slices.csv, report.html."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

from ct_keras.evaluation.document import SLICE_KEYS, to_json
from ct_keras.evaluation.runner import Evaluation
from ct_keras.files import atomic_file, write_errors, write_texts
from ct_keras.report.figures import draw_result
from ct_keras.report.report import render_report


def write_report(
    evaluation: Evaluation,
    out: str | os.PathLike,
    *,
    curves: Mapping[str, Mapping] | None = None,
) -> None:
    """Writes an evaluation: all files or none; other files in `out` are kept.

    Args:
        evaluation: From `ct_keras.evaluation.evaluate_models`.
        out: The folder that gets ``metrics.json``, ``slices.csv`` and ``report.html``.
        curves: Name -> a further curve for the page; see `ct_keras.report.curves`.

    Raises:
        CtKerasError: CTK-E073, if a file cannot be written.
    """
    page = render_report(
        evaluation.document, evaluation.records, evaluation.pictures, curves=curves
    )
    text = json.dumps(
        evaluation.document, indent=2, ensure_ascii=False, allow_nan=False
    )
    texts = {
        "slices.csv": _csv(evaluation.records),
        "report.html": page,
        "metrics.json": text + "\n",
    }
    write_texts(out, texts)


def write_figures(evaluation: Evaluation, out: str | os.PathLike) -> None:
    """Draws the slices that the page shows: ``slice-1.png``, ``slice-2.png`` ...

    Args:
        evaluation: From `ct_keras.evaluation.evaluate_models`.
        out: The folder, which is made if necessary.

    Raises:
        CtKerasError: CTK-E073, if a file cannot be written.
    """
    out = Path(out)
    with write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(evaluation.pictures, start=1):
        with atomic_file(out / f"slice-{number}.png") as temporary:
            draw_result(picture, temporary)


def _csv(records: list[dict]) -> str:
    """One line per slice and model; undefined values are empty."""
    metrics = [key for key in records[0] if key not in SLICE_KEYS]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*SLICE_KEYS, *metrics], lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow(to_json(record))
    return text.getvalue()
