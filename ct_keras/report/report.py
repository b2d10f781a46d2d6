"""One self-contained page: tables, plots, statistics and an image browser.

The page works from a local file without a network. Images are embedded as int16 HU, so
window and level can be changed in the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from ct_keras import hu
from ct_keras.evaluation.document import INPUT, to_json
from ct_keras.evaluation.pictures import Picture, pack_image
from ct_keras.metrics.metric import GROUP_METRICS, MAIN_METRICS, METRICS
from ct_keras.metrics.protocols import PROTOCOLS
from ct_keras.metrics.tissues import body_mask
from ct_keras.notice import NOTICE
from ct_keras.report import plots, tables
from ct_keras.report.curves import curve_groups

#: Maximum size of the embedded images, in characters.
IMAGE_BUDGET = 36_000_000
#: Pixels kept around the body.
MARGIN_PIXELS = 10
#: Possible limits of the difference maps, in HU (plus and minus).
DIFFERENCE_RANGES_HU = (10, 25, 50, 100, 200, 400)
REFERENCE = "reference"
#: The windows of the keys 1 to 5.
WINDOWS = (*hu.WINDOWS.values(), hu.Window("wide", 0, 2000))


@dataclass(frozen=True)
class Scope:
    """The rows of a table: all doses together, or one dose."""

    id: str
    label: str
    rows: Sequence[Mapping]


def render_report(
    document: Mapping,
    records: Sequence[Mapping],
    pictures: Sequence[Picture],
    *,
    curves: Mapping[str, Mapping] | None = None,
) -> str:
    """Renders the report page.

    Args:
        document: What ``metrics.json`` holds.
        records: One per slice and model, as `build_document` takes them.
        pictures: The slices to show; those that exceed the size limit are left out.
        curves: Name -> a curve of image quality (NPS, TTF, AUC, ...), see
            `ct_keras.report.curves`; each becomes a plot.

    Returns:
        Self-contained HTML.

    Raises:
        CtKerasError: CTK-E005, if a curve is not valid.
    """
    models = [row["model"] for row in document["rows"]]
    shown, payloads = embed_pictures(pictures, records)
    environment = Environment(
        loader=PackageLoader("ct_keras.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals |= {
        "number": tables.number,
        "interval": tables.interval,
        "describe_method": tables.describe_method,
        "dose_label": tables.dose_label,
        "best_models": tables.best_models,
        "gain": tables.gain,
        "ceiling_text": tables.ceiling_text,
        "strength_text": tables.strength_text,
        "series_class": plots.series_class,
    }
    return environment.get_template("report.html.j2").render(
        document=document,
        notice=NOTICE,
        models=models,
        methods=[model for model in models if model != INPUT],
        scopes=_scopes(document),
        groups=_groups(document),
        group_columns=[METRICS[key] for key in GROUP_METRICS],
        sheets=tables.sheets(),
        protocols=[tables.describe_protocol(each) for each in PROTOCOLS.values()],
        plot=plots.psnr_plot(records, models),
        entries=list(enumerate(models)),
        curve_groups=curve_groups(document, models, curves or {}),
        lead=lead(document),
        best_column=replace(METRICS["psnr"], key="psnr_best_strength"),
        metrics=METRICS,
        main_metrics=MAIN_METRICS,
        browser={
            "pictures": shown,
            "methods": models,
            "windows": [
                {"name": window.name, "center": window.center, "width": window.width}
                for window in WINDOWS
            ],
            "ranges": list(DIFFERENCE_RANGES_HU),
            "pair": {"first": INPUT, "second": best_method(document) or REFERENCE},
        },
        payloads=payloads,
    )


def lead(document: Mapping) -> str:
    """Summarises the results in one or two sentences."""
    rows = document["rows"]
    name = best_method(document)
    if name is None:
        return "Only the low-dose input was measured."
    best = next(row for row in rows if row["model"] == name)
    text = f"{best['model']} has the highest PSNR of the methods"
    text += f" at {tables.value_text(best, 'psnr')} dB"
    gained = tables.gain(best, rows, "psnr")
    if gained is None:
        return text + "."
    side = "above" if gained >= 0 else "below"
    text += f", {tables.number(abs(gained), 2)} dB {side} the low-dose input."
    worse = best["psnr_worse_slices"]
    if worse is not None:
        share = "No slice" if worse == 0 else f"{100 * worse:.3g} % of the slices"
        text += f" {share} came out worse than the input."
    return text + _at_best_strength(rows)


def _at_best_strength(rows: Sequence[Mapping]) -> str:
    """A sentence on the method with the highest PSNR at its best strength."""
    known = [row for row in rows if isinstance(row["psnr_best_strength"], float)]
    if not known:
        return ""
    best = max(known, key=lambda row: row["psnr_best_strength"])
    psnr = tables.number(best["psnr_best_strength"], METRICS["psnr"].digits)
    strength = tables.number(best["best_strength"], 2)
    return (
        f" With every method at its best strength, {best['model']} leads with {psnr} "
        f"dB at strength {strength}."
    )


def best_method(document: Mapping) -> str | None:
    """Returns the method with the highest finite PSNR, or None without methods."""
    methods = [
        row
        for row in document["rows"]
        if row["model"] != INPUT and isinstance(row["psnr"], int | float)
    ]
    return max(methods, key=lambda row: row["psnr"])["model"] if methods else None


def embed_pictures(
    pictures: Sequence[Picture], records: Sequence[Mapping]
) -> tuple[list[dict], list[dict]]:
    """Packs pictures for the page, as many as the size limit allows, at least one.

    Args:
        pictures: The slices to show.
        records: One per slice and model; the shown metrics come from here.

    Returns:
        The description of each picture, and the images as ``id`` and ``data`` (see
        `pack_image`).
    """
    shown: list[dict] = []
    payloads: list[dict] = []
    weight = 0
    for picture in pictures:
        top, bottom, left, right = _box(picture.reference)
        images = {**picture.images, REFERENCE: picture.reference}
        packed = [
            {"id": f"{len(shown)}/{place}", "data": pack_image(image)}
            for place, image in enumerate(
                image[top:bottom, left:right] for image in images.values()
            )
        ]
        weight += sum(len(image["data"]) for image in packed)
        if shown and weight > IMAGE_BUDGET:
            break
        crop = picture.reference[top:bottom, left:right]
        low_dose = picture.images[INPUT][top:bottom, left:right]
        shown.append(
            {
                "label": f"{tables.short_name(picture.patient)}, "
                f"slice {picture.slice_index}, "
                + tables.dose_label(picture.dose_fraction),
                "rows": bottom - top,
                "columns": right - left,
                "offset": [top, left],
                "spacing_mm": list(picture.spacing_mm),
                "names": list(images),
                "difference_range": difference_range(crop, low_dose),
                "metrics": _metrics_of(picture, records),
            }
        )
        payloads += packed
    return shown, payloads


def difference_range(reference: np.ndarray, low_dose: np.ndarray) -> int:
    """Returns the value of `DIFFERENCE_RANGES_HU` that suits the noise of an input."""
    body = body_mask(reference)
    difference = np.subtract(low_dose, reference, dtype=np.float64)
    noise = float(np.std(difference[body] if body.any() else difference))
    fitting = [each for each in DIFFERENCE_RANGES_HU if each >= 2 * noise]
    return fitting[0] if fitting else DIFFERENCE_RANGES_HU[-1]


def _box(reference: np.ndarray) -> tuple[int, int, int, int]:
    """Bounds of the body with a margin (or the image): top, bottom, left, right."""
    rows, columns = reference.shape
    body = body_mask(reference)
    if not body.any():
        return 0, rows, 0, columns
    left, top, width, height = cv2.boundingRect(body.astype(np.uint8))
    return (
        max(top - MARGIN_PIXELS, 0),
        min(top + height + MARGIN_PIXELS, rows),
        max(left - MARGIN_PIXELS, 0),
        min(left + width + MARGIN_PIXELS, columns),
    )


def _metrics_of(picture: Picture, records: Sequence[Mapping]) -> dict[str, list[str]]:
    """Model -> PSNR, SSIM and RMSE of the shown slice, as text."""
    return {
        record["model"]: [
            tables.number(to_json(record[key]), METRICS[key].digits)
            for key in MAIN_METRICS
        ]
        for record in records
        if record["case"] == picture.patient
        and record["series"] == picture.series
        and record["slice_index"] == picture.slice_index
        and record["dose_fraction"] == picture.dose_fraction
    }


def _scopes(document: Mapping) -> list[Scope]:
    scopes = [Scope("all", "All doses", document["rows"])]
    if len(document["doses"]) > 1:
        for place, dose in enumerate(document["doses"]):
            rows = [r for r in document["by_dose"] if r["dose_fraction"] == dose]
            scopes.append(Scope(f"dose{place}", tables.dose_label(dose), rows))
    return scopes


def _groups(document: Mapping) -> list[dict]:
    """Each grouping with the rows of every value, by model."""
    groups = []
    for grouping in document["groups"]:
        rows = [row for row in document["by_group"] if row["group"] == grouping["id"]]
        columns = [
            {row["model"]: row for row in rows if row["value"] == value}
            for value in grouping["values"]
        ]
        groups.append({**grouping, "rows": columns})
    return groups
