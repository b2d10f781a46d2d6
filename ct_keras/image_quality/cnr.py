"""Mean, noise, bias and contrast-to-noise ratio of regions."""

from __future__ import annotations

import math

import numpy as np


def mean_and_sd(values: np.ndarray) -> tuple[float, float]:
    """Returns the mean and the standard deviation (n - 1) of a region, HU."""
    values = np.asarray(values, np.float64)
    return float(values.mean()), float(values.std(ddof=1))


def cnr(signal: np.ndarray, background: np.ndarray, *, pooled: bool = False) -> float:
    """Returns the contrast-to-noise ratio of an object, |m_s - m_b| / sd_b.

    According to AAPM Report 233, CNR alone is inadequate for nonlinear methods: it
    depends on neither texture nor blur.

    Args:
        signal: HU of pixels in the object.
        background: HU of pixels around it.
        pooled: Divide by sqrt((sd_s^2 + sd_b^2) / 2) instead.

    Example:
        >>> cnr(np.array([9.0, 11.0]), np.array([-1.0, 1.0])) == 10 / 2**0.5
        True
    """
    (mean, sd), (around, noise) = mean_and_sd(signal), mean_and_sd(background)
    if pooled:
        noise = math.sqrt((sd**2 + noise**2) / 2)
    return abs(mean - around) / noise if noise > 0 else math.inf


def disc_mask(
    shape: tuple[int, int], center: tuple[float, float], radius: float
) -> np.ndarray:
    """Returns bool (rows, columns), True for pixels with their centre in a disc.

    Args:
        shape: (rows, columns).
        center: (row, column) of the disc in pixels.
        radius: Radius in pixels.
    """
    return radius_map(shape, center) <= radius


def radius_map(shape: tuple[int, int], center: tuple[float, float]) -> np.ndarray:
    """Returns the distance of every pixel from a point, in pixels."""
    rows, columns = shape
    return np.hypot(
        np.arange(rows)[:, None] - center[0], np.arange(columns) - center[1]
    )
