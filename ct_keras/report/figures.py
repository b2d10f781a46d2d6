"""Result figures as files: whole slices in one row, close-ups below."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ct_keras.evaluation.pictures import Picture
from ct_keras.hu import ABDOMEN, Window
from ct_keras.metrics.pixelwise import psnr
from ct_keras.metrics.protocols import MAIN, PROTOCOLS
from ct_keras.report.tables import short_name

_REFERENCE = "full dose"
_PANEL_INCHES, _DPI = 2.2, 150
#: Side of a close-up as a share of the slice.
_CLOSE_UP = 0.25
_EDGE_PIXELS = 9
_COLOUR = "#E69F00"


def draw_result(picture: Picture, path: Path, *, window: Window = ABDOMEN) -> None:
    """Draws a slice by all methods: one row of slices, one row of close-ups.

    The close-up is where the reference has most detail. Titles give the PSNR of the
    slice by protocol `report`.

    Args:
        picture: A slice of an evaluation.
        path: The PNG file.
        window: Display window.
    """
    from matplotlib.figure import Figure

    images = {**picture.images, _REFERENCE: picture.reference}
    top, left, side = find_detail(picture.reference)
    rows_mm, columns_mm = picture.spacing_mm
    shown = {
        "cmap": "gray",
        "vmin": window.low,
        "vmax": window.high,
        "aspect": rows_mm / columns_mm,
    }
    figure = Figure(
        figsize=(_PANEL_INCHES * len(images), 2.25 * _PANEL_INCHES),
        layout="constrained",
    )
    panels = figure.subplots(2, len(images), squeeze=False)
    for column, (name, hu) in enumerate(images.items()):
        whole, close = panels[:, column]
        whole.imshow(hu, **shown)
        whole.set_title(_title(name, hu, picture.reference), fontsize=9)
        whole.add_patch(_frame(left, top, side))
        close.imshow(hu[top : top + side, left : left + side], **shown)
        for panel in (whole, close):
            panel.set_axis_off()
    dose = picture.dose_fraction
    known = "" if dose is None else f", {dose:.3g} of the dose"
    figure.supxlabel(f"slice {picture.slice_index + 1}{known}, {window}", fontsize=9)
    figure.savefig(path, dpi=_DPI)


def find_detail(hu: np.ndarray) -> tuple[int, int, int]:
    """Finds the square in which soft tissue has most detail.

    Args:
        hu: (rows, columns), HU.

    Returns:
        Its first row, its first column and its side, a quarter of the shorter side.
    """
    side = max(1, round(_CLOSE_UP * min(hu.shape)))
    shown = np.clip(hu, ABDOMEN.low, ABDOMEN.high).astype(np.float32)
    inside = ((hu > ABDOMEN.low) & (hu < ABDOMEN.high)).astype(np.uint8)
    # The edges of the body and of bones are no detail of soft tissue.
    inside = cv2.erode(inside, np.ones((_EDGE_PIXELS, _EDGE_PIXELS), np.uint8))
    smooth = cv2.GaussianBlur(shown, (0, 0), max(1.0, side / 48))
    steps = np.hypot(*np.gradient(smooth)) * inside
    sums = cv2.boxFilter(steps.astype(np.float32), -1, (side, side), normalize=False)
    # The filter is centred; only squares that lie inside count.
    half = side // 2
    valid = sums[half : half + hu.shape[0] - side + 1][
        :, half : half + hu.shape[1] - side + 1
    ]
    top, left = np.unravel_index(int(np.argmax(valid)), valid.shape)
    return int(top), int(left), side


def _title(name: str, hu: np.ndarray, reference: np.ndarray) -> str:
    if name == _REFERENCE:
        return name
    protocol = PROTOCOLS[MAIN]
    decibels = psnr(
        reference=protocol.map(reference),
        test=protocol.map(hu),
        data_range=protocol.data_range,
    )
    return f"{short_name(name)}\n{decibels:.1f} dB"


def _frame(left: int, top: int, side: int):
    from matplotlib.patches import Rectangle

    place = left - 0.5, top - 0.5
    return Rectangle(place, side, side, fill=False, edgecolor=_COLOUR, linewidth=1)
