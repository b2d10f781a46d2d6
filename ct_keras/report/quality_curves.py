"""Converts quality.json of `ct-keras quality` to curves of the report page."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from ct_keras.errors import CtKerasError
from ct_keras.files.labels import label_of
from ct_keras.report.tables import dose_label

_FREQUENCY = "frequency (1/mm)"
_DOSE = "dose (%)"
_AUC = "AUC, Hotelling observer"
#: What distinguishes the inserts of LCD-CT: the first of these that differs.
_INSERT_AXES = {
    "contrast_hu": "contrast of the insert (HU)",
    "diameter_pixels": "diameter of the insert (pixels)",
}


def read_quality(path: str | os.PathLike) -> dict[str, dict]:
    """Reads the curves of image quality from a quality.json.

    Args:
        path: The file, or its folder.

    Returns:
        Name -> curve; see `ct_keras.report.curves`.

    Raises:
        CtKerasError: CTK-E005, if the file is missing or has other content.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "quality.json"
    try:
        return quality_curves(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CtKerasError(
            "CTK-E005",
            "the curves of image quality cannot be read",
            received=f"{label_of(path)} ({_reason(error)})",
            expected="quality.json as written by `ct-keras quality`",
        ) from error


def _reason(error: Exception) -> str:
    """Why, without the path that the text of a system's error holds."""
    return getattr(error, "strerror", None) or str(error)


def quality_curves(document: Mapping) -> dict[str, dict]:
    """Returns curves of noise texture, sharpness, bias and detectability.

    Args:
        document: The content of quality.json.

    Returns:
        Name -> curve: nNPS of each dose, TTF of each rod and dose (only if it was
        measured reliably), bias of each material and AUC of each disc against dose.
        With LCD-CT images also the AUC at each dose against the contrast of the inserts
        (or their diameter, if only that differs).
    """
    return {
        name: {"title": title, "x_label": across, "y_label": up, "series": series}
        for name, title, across, up, series in chain(
            _found(document), _found_in_lcd(document.get("lcd_ct", []))
        )
        if any(series.values())
    }


def _found(document: Mapping) -> Iterator[tuple[str, str, str, str, dict]]:
    methods = {name: found["doses"] for name, found in document["methods"].items()}
    doses = document["plan"]["doses"]
    for place, dose in enumerate(doses):
        yield (
            f"nnps {dose:g}",
            f"Noise texture, {dose_label(dose)}",
            _FREQUENCY,
            "nNPS (mm²)",
            {name: _texture(records[place]) for name, records in methods.items()},
        )
    (first, *_), *_ = methods.values()
    for rod, found in enumerate(first["ttf"]):
        for place, dose in enumerate(doses):
            transfers = {
                name: records[place]["ttf"][rod] for name, records in methods.items()
            }
            yield (
                f"ttf {found['name']} {dose:g}",
                f"Sharpness of {found['name']}, {dose_label(dose)}",
                _FREQUENCY,
                "TTF",
                {
                    name: _points(transfer["frequency_mm"], transfer["ttf"])
                    for name, transfer in transfers.items()
                    if transfer["reliable"]
                },
            )
    for number, found in enumerate(first["materials"]):
        yield (
            f"bias {found['name']}",
            f"Bias of {found['name']}",
            _DOSE,
            "mean − nominal (HU)",
            {
                name: [
                    _bias(100 * record["dose"], record["materials"][number])
                    for record in records
                ]
                for name, records in methods.items()
            },
        )
    for disc, found in document["dose_curves"].items():
        yield (
            f"auc {disc}",
            f"Detectability of a disc of {disc}",
            _DOSE,
            _AUC,
            {name: _detectability(curve) for name, curve in found.items()},
        )


def _found_in_lcd(
    rows: Sequence[Mapping],
) -> Iterator[tuple[str, str, str, str, dict]]:
    """Yields a curve for each dose and set of channels of the LCD-CT images."""
    inserts = {row["insert"]: row for row in rows}.values()
    axis = next(
        (
            key
            for key in _INSERT_AXES
            if len({insert[key] for insert in inserts}) == len(inserts)
        ),
        next(iter(_INSERT_AXES)),
    )
    curves: dict[tuple, dict] = {}
    for row in sorted(rows, key=lambda row: row[axis]):
        series = curves.setdefault((row["dose"], row["channels"]), {})
        point = [row[axis], row["auc"], *row["auc_interval"]]
        series.setdefault(row["method"], []).append(point)
    for (dose, channels), series in sorted(curves.items()):
        yield (
            f"lcd_ct {channels} {dose:g}",
            f"Detectability of the LCD-CT inserts, {dose_label(dose)}, {channels}",
            _INSERT_AXES[axis],
            _AUC,
            series,
        )


def _bias(dose: float, material: Mapping) -> list[float]:
    return [dose, material["bias_hu"], *material["bias_interval_hu"]]


def _texture(record: Mapping) -> list[list[float]]:
    noise = record["noise"]
    return _points(noise["frequency_mm"], noise["nnps_mm2"])


def _points(xs, ys) -> list[list[float]]:
    return [list(pair) for pair in zip(xs, ys, strict=True)]


def _detectability(curve: Mapping) -> list[list[float]]:
    rows = zip(curve["doses"], curve["auc"], curve["auc_interval"], strict=True)
    return [[100 * dose, auc, *limits] for dose, auc, limits in rows]
