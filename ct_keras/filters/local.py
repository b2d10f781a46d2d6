"""Filters that weigh by local statistics: Wiener, bilateral, total variation."""

from __future__ import annotations

import cv2
import numpy as np

from ct_keras.filters.noise import given_or_estimated
from ct_keras.filters.windows import odd


def wiener(
    image: np.ndarray, size: int, strength: float = 1.0, noise_sd: float | None = None
) -> np.ndarray:
    """Moves a pixel towards the local mean, more where the local variance is low.

    m + max(0, s^2 - v^2) / max(s^2, v^2) (x - m), with m and s^2 the mean and the
    variance of the window and v^2 the variance of the noise. Borders are mirrored.

    Args:
        image: (rows, columns), HU.
        size: Side of the window in pixels, odd.
        strength: Factor on the noise level.
        noise_sd: Standard deviation of the noise in HU; None estimates it, or uses the
            mean of s^2 for an image in which most neighbouring pixels are equal.

    Reference:
        Lee 1980, https://doi.org/10.1109/TPAMI.1980.4766994; Lim 1990, section 9.2
    """
    side = (odd(size), odd(size))
    exact = np.ascontiguousarray(image, np.float64)
    average = cv2.blur(exact, side, borderType=cv2.BORDER_REFLECT)
    square = cv2.blur(exact * exact, side, borderType=cv2.BORDER_REFLECT)
    variance = np.maximum(square - average**2, 0)
    noise = given_or_estimated(image, noise_sd) ** 2
    if noise_sd is None and noise == 0:
        noise = variance.mean()
    noise *= strength**2
    if noise == 0:
        return image
    gain = np.maximum(variance - noise, 0) / np.maximum(variance, noise)
    return (average + gain * (exact - average)).astype(np.float32)


def bilateral(
    image: np.ndarray,
    sigma: float,
    reach: float,
    noise_sd: float | None = None,
) -> np.ndarray:
    """Averages nearby pixels of similar HU, with Gaussian weights for both.

    Args:
        image: (rows, columns), HU.
        sigma: Standard deviation in the plane, in pixels; the window is a disk of twice
            that radius.
        reach: Standard deviation of the difference in HU, in noise standard deviations.
        noise_sd: Standard deviation of the noise in HU; None estimates it.

    Reference:
        Tomasi and Manduchi 1998, https://doi.org/10.1109/ICCV.1998.710815
    """
    level = reach * given_or_estimated(image, noise_sd)
    if level == 0:
        return image
    diameter = 2 * int(np.ceil(2 * sigma)) + 1
    image = np.ascontiguousarray(image, np.float32)
    return cv2.bilateralFilter(
        image, diameter, level, sigma, borderType=cv2.BORDER_REFLECT
    )


def tv(
    image: np.ndarray,
    weight: float,
    noise_sd: float | None = None,
    iterations: int = 100,
) -> np.ndarray:
    """Reduces the total variation of an image.

    Minimises |y - x|^2 / 2 + w TV(y), isotropic, by Chambolle's projection.

    Args:
        image: (rows, columns), HU.
        weight: w in noise standard deviations.
        noise_sd: Standard deviation of the noise in HU; None estimates it.
        iterations: Iterations of the projection; 100 come within 0.02 dB of the
            minimum.

    Reference:
        Chambolle 2004, https://doi.org/10.1023/B:JMIV.0000011325.36760.1e
    """
    from skimage.restoration import denoise_tv_chambolle

    level = weight * given_or_estimated(image, noise_sd)
    if level == 0:
        return image
    image = np.asarray(image, np.float32)
    # No early stopping, which would end after a few steps, far from the minimum.
    return denoise_tv_chambolle(image, level, eps=0, max_num_iter=int(iterations))
