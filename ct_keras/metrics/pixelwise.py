"""PSNR, RMSE, and the errors in Hounsfield units over the body and its tissues."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

#: The body: the largest connected region above this, opened, with its holes filled.
BODY_HU = -500.0
#: Below this a pixel is padding outside the reconstruction circle, not air.
PADDING_HU = -1100.0
#: A tissue is eroded by this many pixels in every direction, diagonals included, so
#: that edges do not count.
EROSION_PIXELS = 2


@dataclass(frozen=True)
class Tissue:
    """A class of tissue: `low` <= reference <= `high`, in HU.

    The limits are a choice of this project, not a standard.
    """

    name: str
    low: float
    high: float


TISSUES = (
    Tissue("air", PADDING_HU, -900),
    Tissue("lung", -900, -500),
    Tissue("fat", -150, -30),
    Tissue("soft", -30, 120),
    Tissue("bone", 200, math.inf),
)


def mse(*, reference: np.ndarray, test: np.ndarray) -> float:
    """Returns the mean squared error of two images of one shape, as float64."""
    difference = np.subtract(test, reference, dtype=np.float64)
    return float(np.mean(np.square(difference)))


def rmse(*, reference: np.ndarray, test: np.ndarray) -> float:
    """Returns the root of the mean squared error, in the images' own unit."""
    return math.sqrt(mse(reference=reference, test=test))


def psnr(*, reference: np.ndarray, test: np.ndarray, data_range: float) -> float:
    """Returns the peak signal-to-noise ratio in dB.

    Args:
        reference: Any shape.
        test: The same shape and unit.
        data_range: The span R of possible values in that unit.

    Returns:
        10 log10(R^2 / MSE); inf for an identical pair, NaN where R is 0.
    """
    return psnr_of_mse(mse(reference=reference, test=test), data_range=data_range)


def psnr_of_mse(error: float, *, data_range: float) -> float:
    """Returns the PSNR in dB that belongs to a mean squared error."""
    if not data_range > 0:
        return math.nan
    if error == 0:
        return math.inf
    return 10 * math.log10(data_range**2 / error)


def body_mask(hu: np.ndarray) -> np.ndarray:
    """Finds the patient: no air around, no table, lungs and bowel gas included.

    Args:
        hu: (rows, columns), HU.

    Returns:
        bool (rows, columns); all False where nothing is denser than -500 HU.
    """
    dense = (np.asarray(hu) > BODY_HU).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    opened = cv2.morphologyEx(dense, cv2.MORPH_OPEN, disc)
    _, regions, statistics, _ = cv2.connectedComponentsWithStats(opened)
    if len(statistics) < 2:
        return np.zeros(dense.shape, bool)
    largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    around = np.pad((regions != largest).astype(np.uint8), 1, constant_values=1)
    cv2.floodFill(around, None, (0, 0), 2)
    return around[1:-1, 1:-1] != 2


def tissue_masks(reference_hu: np.ndarray) -> dict[str, np.ndarray]:
    """Cuts a reference into tissues, each eroded by two pixels.

    Args:
        reference_hu: (rows, columns), HU.

    Returns:
        Name of the tissue -> bool (rows, columns).
    """
    hu = np.asarray(reference_hu)
    square = np.ones((2 * EROSION_PIXELS + 1,) * 2, np.uint8)
    masks = {}
    for tissue in TISSUES:
        inside = (hu >= tissue.low) & (hu <= tissue.high)
        masks[tissue.name] = cv2.erode(inside.astype(np.uint8), square) > 0
    return masks


def hu_errors(*, reference: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """Measures the errors in HU, without a window.

    Args:
        reference: (rows, columns), HU.
        test: (rows, columns), HU.

    Returns:
        ``rmse_hu_hu`` and ``mae_hu`` over all pixels; ``rmse_hu_body``,
        ``mae_hu_body`` and ``bias_hu`` (mean of test - reference) in the body;
        ``bias_hu_<tissue>`` for every class of `TISSUES`. NaN where a region is
        empty.
    """
    reference = np.asarray(reference, np.float64)
    difference = np.asarray(test, np.float64) - reference
    inside = difference[body_mask(reference)]
    found = {
        "rmse_hu_hu": _root_mean_square(difference),
        "mae_hu": float(np.mean(np.abs(difference))),
        "rmse_hu_body": _root_mean_square(inside),
        "mae_hu_body": _mean(np.abs(inside)),
        "bias_hu": _mean(inside),
    }
    for name, mask in tissue_masks(reference).items():
        found[f"bias_hu_{name}"] = _mean(difference[mask])
    return found


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else math.nan


def _root_mean_square(values: np.ndarray) -> float:
    return math.sqrt(_mean(np.square(values))) if values.size else math.nan
