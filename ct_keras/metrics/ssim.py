"""Structural similarity in the four definitions that papers use, each with a name.

The same pair of images can give 0.90 or 0.92, depending on the window and the border
handling, so every SSIM of this package has one of these names:

========================  ===========================  ==================  ==========
name                      window                       border              variance
========================  ===========================  ==================  ==========
``gauss-zero``            11x11 Gaussian, sigma 1.5    zeros, all pixels   biased
``gauss-reflect``         the same                     reflect, edge once  biased
``gauss-valid``           the same                     covered pixels      biased
``uniform7``              7x7 mean                     covered pixels      sample
========================  ===========================  ==================  ==========

``gauss-valid`` is `tf.image.ssim` with its defaults.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

K1 = 0.01
K2 = 0.03
GAUSS_SIGMA = 1.5
GAUSS_SIZE = 11
UNIFORM_SIZE = 7

#: Name -> border mode of OpenCV.
_BORDERS = {
    "gauss-zero": cv2.BORDER_CONSTANT,
    "gauss-reflect": cv2.BORDER_REFLECT_101,
    "gauss-valid": cv2.BORDER_REFLECT_101,
    "uniform7": cv2.BORDER_REFLECT_101,
}
SSIM_NAMES = tuple(_BORDERS)
#: Definitions that average only pixels whose window lies inside the image.
_COVERED = ("gauss-valid", "uniform7")


def gaussian_kernel(size: int, *, sigma: float) -> np.ndarray:
    """Returns `size` samples of a Gaussian with sum 1 (float64)."""
    distance = np.arange(size, dtype=np.float64) - (size - 1) / 2
    weights = np.exp(-0.5 * np.square(distance / sigma))
    return weights / weights.sum()


def ssim(
    *,
    reference: np.ndarray,
    test: np.ndarray,
    data_range: float,
    definition: str,
    clamp: bool = False,
) -> float:
    """Returns the mean structural similarity of an image pair.

    Args:
        reference: (rows, columns).
        test: (rows, columns), the same unit.
        data_range: The span of possible values in that unit.
        definition: One of `SSIM_NAMES`.
        clamp: Whether the map is limited to [0, 1] before averaging.

    Returns:
        At most 1; NaN for an image smaller than the window (if the window must lie
        inside the image), or a range that is not positive.

    Reference:
        Wang et al. 2004, doi:10.1109/TIP.2003.819861
    """
    if not data_range > 0:
        return math.nan
    values = ssim_map(
        reference=reference, test=test, data_range=data_range, definition=definition
    )
    if values.size == 0:
        return math.nan
    return float(np.mean(np.clip(values, 0, 1) if clamp else values))


def ssim_map(
    *, reference: np.ndarray, test: np.ndarray, data_range: float, definition: str
) -> np.ndarray:
    """Returns the SSIM of every pixel that the definition includes.

    Args:
        reference: (rows, columns).
        test: (rows, columns), the same unit.
        data_range: The span of possible values in that unit.
        definition: One of `SSIM_NAMES`.

    Returns:
        float64, (rows, columns), or smaller by the window size minus one.
    """
    x = np.asarray(reference, np.float64)
    y = np.asarray(test, np.float64)
    mean_x, mean_y = _average(x, definition), _average(y, definition)
    means = mean_x * mean_x + mean_y * mean_y
    variances = _average(x * x + y * y, definition) - means
    covariance = _average(x * y, definition) - mean_x * mean_y
    if definition == "uniform7":
        sample = UNIFORM_SIZE**2 / (UNIFORM_SIZE**2 - 1)
        variances, covariance = sample * variances, sample * covariance
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    top = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return top / ((means + c1) * (variances + c2))


def _average(values: np.ndarray, definition: str) -> np.ndarray:
    """Windowed mean; only windows inside the image if the definition requires it."""
    border = _BORDERS[definition]
    if definition == "uniform7":
        size = UNIFORM_SIZE
        averaged = cv2.boxFilter(values, cv2.CV_64F, (size, size), borderType=border)
    else:
        size = GAUSS_SIZE
        kernel = gaussian_kernel(size, sigma=GAUSS_SIGMA)
        averaged = cv2.sepFilter2D(
            values, cv2.CV_64F, kernel, kernel, borderType=border
        )
    if definition not in _COVERED:
        return averaged
    rows, columns = (max(edge - size + 1, 0) for edge in values.shape)
    margin = size // 2
    return averaged[margin : margin + rows, margin : margin + columns]
