"""Filters of one image: Gaussian, median, non-local means."""

from __future__ import annotations

import cv2
import numpy as np

from ct_keras.dicom.noise_level import deviation_mode, soft_tissue_deviations


def gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    """Convolves with a normalised Gaussian, cut at 4 sigma, borders mirrored.

    Args:
        image: float32 (rows, columns), HU.
        sigma: Standard deviation in pixels.
    """
    radius = int(np.ceil(4 * sigma))
    size = (2 * radius + 1, 2 * radius + 1)
    return cv2.GaussianBlur(image, size, sigma, borderType=cv2.BORDER_REFLECT)


def median(image: np.ndarray, size: int) -> np.ndarray:
    """Takes the median of a square window of `size` pixels (3 or 5)."""
    return cv2.medianBlur(np.ascontiguousarray(image, np.float32), int(size))


def nlm(
    image: np.ndarray, h: float, patch_size: int, patch_distance: int
) -> np.ndarray:
    """Averages pixels whose surroundings look alike.

    Args:
        image: float32 (rows, columns), HU.
        h: How different patches may be, in units of the image's own noise level.
        patch_size: Side of a patch in pixels.
        patch_distance: How far to look, in pixels.

    Reference:
        Buades et al. 2005, https://doi.org/10.1109/CVPR.2005.38
    """
    from skimage.restoration import denoise_nl_means

    sigma = noise_sd(image)
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


def noise_sd(image: np.ndarray) -> float:
    """Estimates the standard deviation of the noise of one image, in HU.

    The most frequent local deviation in soft tissue; where there is too little of it,
    the median absolute difference of neighbours, which is right for white noise.
    """
    unknown_spacing = (np.nan, np.nan)
    mode = deviation_mode(soft_tissue_deviations(image, unknown_spacing))
    if mode is not None:
        return mode
    differences = np.diff(image, axis=-1)
    if differences.size == 0:
        return 0.0
    return float(np.median(np.abs(differences)) / 0.6745 / np.sqrt(2))
