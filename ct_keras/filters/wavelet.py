"""Shrinks the coefficients of an undecimated wavelet transform."""

from __future__ import annotations

import cv2
import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.filters.noise import given_or_estimated

#: Symlet with four vanishing moments: low-pass, orthonormal to its even shifts.
#: Daubechies 1992, Ten Lectures on Wavelets, table 6.3.
LOW_PASS = np.array(
    [
        -0.07576571478927333,
        -0.02963552764599851,
        0.49761866763201545,
        0.80373875180591610,
        0.29785779560527736,
        -0.09921954357684722,
        -0.01260396726203783,
        0.03222310060404270,
    ]
)
HIGH_PASS = LOW_PASS[::-1] * (-1.0) ** np.arange(len(LOW_PASS))
_WINDOW = 7  # pixels over which the signal's variance is taken to be the same
_MOST_LEVELS = 8


def wavelet(
    image: np.ndarray,
    levels: int,
    strength: float = 1.0,
    noise_sd: float | None = None,
) -> np.ndarray:
    """Soft thresholds that follow the local variance of each subband.

    The threshold of a coefficient is v^2 / s, with v the noise standard deviation and
    s that of the signal around it. The transform is not decimated (which is the same as
    averaging over all shifts), so no blocks appear. Borders are mirrored.

    Args:
        image: (rows, columns), HU.
        levels: How often the low-pass part is split; level n holds details of about
            2^n pixels.
        strength: Factor on the noise level.
        noise_sd: Standard deviation of the noise in HU; None estimates it.

    Raises:
        CtKerasError: CTK-E000 for levels outside 1...8.

    Reference:
        Chang, Yu, Vetterli 2000, https://doi.org/10.1109/83.862630 and
        https://doi.org/10.1109/83.862633; Coifman and Donoho 1995
    """
    levels = int(levels)
    if not 1 <= levels <= _MOST_LEVELS:
        raise CtKerasError(
            "CTK-E000",
            "no such wavelet transform",
            received=f"{levels} levels",
            expected=f"1 to {_MOST_LEVELS}",
        )
    sigma = strength * given_or_estimated(image, noise_sd)
    if sigma == 0:
        return image
    # As far as all levels reach together, so that opposite borders never touch.
    margin = (len(LOW_PASS) - 1) * (2**levels - 1) + _WINDOW // 2
    smooth = np.pad(np.asarray(image, np.float32), margin, mode="symmetric")
    details = []
    for level in range(levels):
        smooth, *bands = analyse(smooth, 2**level)
        details.append([_shrink(band, sigma) for band in bands])
    for level in reversed(range(levels)):
        smooth = synthesise(smooth, *details[level], 2**level)
    return smooth[margin:-margin, margin:-margin]


def analyse(image: np.ndarray, step: int) -> list[np.ndarray]:
    """Splits an image: low-pass, details along columns, rows and both diagonals.

    White noise has in each part the deviation that it has in the image. Borders wrap.
    """
    low, high = (_filter(image, taps, step, 0) for taps in (LOW_PASS, HIGH_PASS))
    return [
        _filter(half, taps, step, 1)
        for half in (low, high)
        for taps in (LOW_PASS, HIGH_PASS)
    ]


def synthesise(low_low, low_high, high_low, high_high, step: int) -> np.ndarray:
    """The image that `analyse` splits into these parts."""
    taps, step = (LOW_PASS / 2, HIGH_PASS / 2), -step
    low, high = (
        _filter(smooth, taps[0], step, 1) + _filter(detail, taps[1], step, 1)
        for smooth, detail in ((low_low, low_high), (high_low, high_high))
    )
    return _filter(low, taps[0], step, 0) + _filter(high, taps[1], step, 0)


def _filter(image: np.ndarray, taps: np.ndarray, step: int, axis: int) -> np.ndarray:
    """Correlates along one axis with taps that lie `step` pixels apart."""
    result = np.zeros_like(image)
    for index, tap in enumerate(taps):
        result += np.float32(tap) * np.roll(image, -index * step, axis)
    return result


def _shrink(band: np.ndarray, sigma: float) -> np.ndarray:
    """Soft thresholding by the local variance of a subband."""
    power = cv2.blur(band * band, (_WINDOW, _WINDOW), borderType=cv2.BORDER_REFLECT)
    signal = np.sqrt(np.maximum(power - sigma**2, 0))
    with np.errstate(divide="ignore"):
        threshold = sigma**2 / signal
    return np.sign(band) * np.maximum(np.abs(band) - threshold, 0)
