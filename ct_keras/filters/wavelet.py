"""Shrinks the coefficients of an undecimated wavelet transform."""

from __future__ import annotations

import cv2
import numpy as np
import pywt

from ct_keras.errors import CtKerasError
from ct_keras.filters.noise import given_or_estimated

#: Symlet with four vanishing moments; Daubechies 1992, Ten Lectures on Wavelets, table
#: 6.3. Its mirror image is equally valid; this is the one for correlation.
_ANALYSIS, _SYNTHESIS = np.split(np.array(pywt.Wavelet("sym4").filter_bank), 2)
SYMLET = pywt.Wavelet("sym4_mirrored", [*_SYNTHESIS, *_ANALYSIS])
_WINDOW = 7  # pixels over which the signal's variance is assumed constant
_MOST_LEVELS = 8


def wavelet(
    image: np.ndarray,
    levels: int,
    strength: float = 1.0,
    noise_sd: float | None = None,
) -> np.ndarray:
    """Soft thresholding, adapted to the local variance of each subband.

    The threshold of a coefficient is v^2 / s, with v the noise standard deviation and
    s that of the signal around it. The transform is not decimated (equivalent to
    averaging over all shifts), so there are no block artefacts. Borders are mirrored.

    Args:
        image: (rows, columns), HU.
        levels: Levels of the decomposition; level n holds details of about 2^n pixels.
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
            "invalid number of wavelet levels",
            received=f"{levels} levels",
            expected=f"1 to {_MOST_LEVELS}",
        )
    sigma = strength * given_or_estimated(image, noise_sd)
    if sigma == 0:
        return image
    # Padded by the reach of all levels, so that opposite borders never meet, and to a
    # multiple of the longest step, which the transform requires.
    step = 2**levels
    margin = (SYMLET.dec_len - 1) * (step - 1) + _WINDOW // 2
    pads = [(margin, margin - (edge + 2 * margin) % -step) for edge in image.shape]
    padded = np.pad(np.asarray(image, np.float32), pads, mode="symmetric")
    # White noise has the same standard deviation in each subband as in the image.
    smooth, *details = pywt.swt2(padded, SYMLET, levels, trim_approx=True)
    shrunk = [tuple(_shrink(band, sigma) for band in bands) for bands in details]
    restored = pywt.iswt2([smooth, *shrunk], SYMLET)
    inside = tuple(slice(margin, margin + edge) for edge in image.shape)
    return restored[inside].astype(np.float32, copy=False)


def _shrink(band: np.ndarray, sigma: float) -> np.ndarray:
    """Soft thresholding by the local variance of a subband."""
    power = cv2.blur(band * band, (_WINDOW, _WINDOW), borderType=cv2.BORDER_REFLECT)
    signal = np.sqrt(np.maximum(power - sigma**2, 0))
    with np.errstate(divide="ignore"):
        threshold = sigma**2 / signal
    return np.sign(band) * np.maximum(np.abs(band) - threshold, 0)
