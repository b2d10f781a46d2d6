"""Visual information fidelity in the pixel domain."""

from __future__ import annotations

import math

import cv2
import numpy as np

from ct_keras.metrics.ssim import gaussian_kernel

#: Size of the Gaussian window at the four scales; sigma is a fifth of it.
WINDOWS = (17, 9, 5, 3)
#: Variance of the visual noise, in HU^2.
NOISE_VARIANCE = 2.0
#: HU are clipped to this before VIF is computed.
CLIP_LOW_HU = -1024.0
CLIP_HIGH_HU = 1900.0
#: Smaller images have no pixel left at the fourth scale.
SMALLEST_IMAGE = 41
_TINY = 1e-10


def vif(*, reference: np.ndarray, test: np.ndarray) -> float:
    """Returns the share of the reference's information that the test image retains.

    Args:
        reference: (rows, columns), HU.
        test: (rows, columns), HU.

    Returns:
        1 for an identical pair, usually between 0 and 1, above 1 for an image with
        more contrast; NaN for an image smaller than 41 pixels or a flat reference.

    Reference:
        Sheikh and Bovik 2006, doi:10.1109/TIP.2005.859378
    """
    return vif_both_ways(reference=reference, test=test)[0]


def vif_both_ways(*, reference: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """Returns VIF and VIF with exchanged images, at little extra cost.

    The variant with exchanged images rewards blur. One published table uses it; it is
    only for comparison with that table.
    """
    if min(np.shape(reference)) < SMALLEST_IMAGE:
        return math.nan, math.nan
    limits = (CLIP_LOW_HU, CLIP_HIGH_HU)
    # Without its mean, the variance of a flat image is 0 and not a rounding error.
    reference, test = (
        clipped - clipped.mean()
        for clipped in (
            np.clip(np.asarray(image, np.float64), *limits)
            for image in (reference, test)
        )
    )
    kept, whole = np.zeros(2), np.zeros(2)
    for scale, size in enumerate(WINDOWS):
        kernel = gaussian_kernel(size, sigma=size / 5)
        if scale:
            reference = _valid(reference, kernel)[::2, ::2]
            test = _valid(test, kernel)[::2, ::2]
        variances = _variances(reference, test, kernel)
        for way, (first, second) in enumerate(((0, 1), (1, 0))):
            information = _information(
                variances[first], variances[second], variances[2]
            )
            kept[way] += information[0]
            whole[way] += information[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.where(whole > 0, kept / whole, math.nan)
    return float(ratios[0]), float(ratios[1])


def _valid(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Filters an image and keeps the pixels whose window lies inside it."""
    margin = len(kernel) // 2
    filtered = cv2.sepFilter2D(values, cv2.CV_64F, kernel, kernel)
    return filtered[margin:-margin, margin:-margin]


def _variances(
    reference: np.ndarray, test: np.ndarray, kernel: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Local variance of the reference, of the test image, and their covariance."""
    mean_reference, mean_test = _valid(reference, kernel), _valid(test, kernel)
    of_reference = _valid(reference * reference, kernel) - mean_reference**2
    of_test = _valid(test * test, kernel) - mean_test**2
    covariance = _valid(reference * test, kernel) - mean_reference * mean_test
    return np.maximum(of_reference, 0), np.maximum(of_test, 0), covariance


def _information(
    of_reference: np.ndarray, of_test: np.ndarray, covariance: np.ndarray
) -> tuple[float, float]:
    """Information in the test image, and in the reference."""
    gain = covariance / (of_reference + _TINY)
    rest = of_test - gain * covariance
    flat = of_reference < _TINY
    gain[flat] = 0
    rest[flat] = of_test[flat]
    of_reference = np.where(flat, 0, of_reference)
    lost = of_test < _TINY
    gain[lost] = 0
    rest[lost] = 0
    inverse = gain < 0
    rest[inverse] = of_test[inverse]
    gain[inverse] = 0
    rest = np.maximum(rest, _TINY)
    kept = np.log1p(gain * gain * of_reference / (rest + NOISE_VARIANCE))
    return float(kept.sum()), float(np.log1p(of_reference / NOISE_VARIANCE).sum())
