"""Averages over a fixed window, and over pixels with similar surroundings."""

from __future__ import annotations

import cv2
import numpy as np

from ct_keras.filters.lecture import inside
from ct_keras.filters.noise import given_or_estimated
from ct_keras.filters.windows import odd


def mean(image: np.ndarray, size: int, *, valid: bool = False) -> np.ndarray:
    """Returns the mean of a square window; borders are mirrored.

    Args:
        image: (rows, columns), HU.
        size: Side of the window in pixels, odd.
        valid: Only windows that lie inside the image, so the result is smaller.
    """
    size = odd(size)
    image = np.ascontiguousarray(image, np.float32)
    result = cv2.blur(image, (size, size), borderType=cv2.BORDER_REFLECT)
    return inside(result, size, size) if valid else result


def gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    """Convolves with a normalised Gaussian, truncated at 4 sigma; mirrored borders.

    Args:
        image: float32 (rows, columns), HU.
        sigma: Standard deviation in pixels.
    """
    size = (2 * gaussian_radius(sigma) + 1,) * 2
    return cv2.GaussianBlur(image, size, sigma, borderType=cv2.BORDER_REFLECT)


def gaussian_radius(sigma: float) -> int:
    """Returns the radius in pixels of the kernel of `gaussian`."""
    return int(np.ceil(4 * sigma))


def nlm(
    image: np.ndarray,
    h: float,
    patch_size: int,
    patch_distance: int,
    noise_sd: float | None = None,
) -> np.ndarray:
    """Averages pixels with similar surroundings (non-local means).

    Args:
        image: float32 (rows, columns), HU.
        h: Filter strength: patch difference at which weights decay, in noise standard
            deviations.
        patch_size: Side of a patch in pixels.
        patch_distance: Radius of the search window in pixels.
        noise_sd: Standard deviation of the noise in HU; None estimates it.

    Reference:
        Buades et al. 2005, https://doi.org/10.1109/CVPR.2005.38
    """
    from skimage.restoration import denoise_nl_means

    sigma = given_or_estimated(image, noise_sd)
    if sigma == 0:
        return image
    return denoise_nl_means(
        image,
        patch_size=int(patch_size),
        patch_distance=int(patch_distance),
        h=h * sigma,
        fast_mode=True,
        preserve_range=True,
    )
