"""Filters that select pixels of a window: median and Lee's sigma filter."""

from __future__ import annotations

import cv2
import numpy as np

from ct_keras.filters.lecture import inside
from ct_keras.filters.noise import given_or_estimated
from ct_keras.filters.windows import odd

_LARGEST_OF_OPENCV = 5  # pixels; OpenCV takes larger windows only for 8-bit images


def median(image: np.ndarray, size: int, *, valid: bool = False) -> np.ndarray:
    """Returns the median of a square window; border pixels are repeated.

    Args:
        image: (rows, columns), HU.
        size: Side of the window in pixels, odd.
        valid: Only windows that lie inside the image, so the result is smaller.
    """
    size = odd(size)
    image = np.ascontiguousarray(image, np.float32)
    if size <= _LARGEST_OF_OPENCV:
        result = cv2.medianBlur(image, size)
    else:
        from scipy.ndimage import median_filter

        result = median_filter(image, size, mode="nearest")
    return inside(result, size, size) if valid else result


def sigma(
    image: np.ndarray,
    size: int,
    reach: float,
    fewest: int,
    noise_sd: float | None = None,
) -> np.ndarray:
    """Averages the pixels of a window that are similar to its centre pixel.

    A pixel with hardly any similar pixel counts as a spike and becomes the mean of its
    four neighbours. Borders are mirrored about the outermost pixel.

    Args:
        image: (rows, columns), HU.
        size: Side of the window in pixels, odd.
        reach: Largest difference of a similar pixel, in noise standard deviations.
        fewest: A pixel is a spike if at most this many are similar, itself included.
        noise_sd: Standard deviation of the noise in HU; None estimates it.

    Reference:
        Lee 1983, https://doi.org/10.1016/0734-189X(83)90047-6
    """
    size = odd(size)
    limit = reach * given_or_estimated(image, noise_sd)
    if limit == 0:
        return image
    image = np.asarray(image, np.float32)
    radius = max(1, size // 2)
    padded = np.pad(image, radius, mode="reflect")
    total, count = np.zeros_like(image), np.zeros_like(image)
    shifts = range(-(size // 2), size // 2 + 1)
    for row in shifts:
        for column in shifts:
            other = _shifted(padded, row, column, radius, image.shape)
            alike = np.abs(other - image) <= limit
            total += np.where(alike, other, 0)
            count += alike
    cross = ((-1, 0), (1, 0), (0, -1), (0, 1))
    neighbours = [_shifted(padded, *step, radius, image.shape) for step in cross]
    spike = count <= fewest
    return np.where(spike, np.mean(neighbours, axis=0), total / count)


def _shifted(padded, row: int, column: int, radius: int, shape) -> np.ndarray:
    """Returns the image shifted by some pixels, from its padded version."""
    top, left = radius + row, radius + column
    return padded[top : top + shape[0], left : left + shape[1]]
