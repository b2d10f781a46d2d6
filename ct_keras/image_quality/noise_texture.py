"""How fine-grained the noise of a scan is: the mean frequency of its power spectrum.

The mean is one over the plane of frequencies. `ct-keras quality` reports one over their
amount instead, which is lower (white noise: 3.2 for 4.8 per cm at pixels of 0.8 mm), so
the two must not be compared.

Kernels and iterative reconstruction change the texture of noise more than its amount. A
network that was trained on one texture may smooth another too little, or too much.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ct_keras.image_quality.noise_level import SOFT_TISSUE_HU

#: Pixels of a square piece, and their distance.
PIECE, STEP = 24, 12
#: Pieces with more structure than the quietest quarter of all are left out.
_QUIET_SHARE = 0.25
#: Fewer quiet pieces than this give no estimate.
FEWEST_PIECES = 8


def noise_frequency(
    slices: Iterable[np.ndarray], spacing_mm: tuple[float, float]
) -> float | None:
    """Returns the mean frequency of the noise in soft tissue, in 1/cm.

    Quiet pieces of soft tissue lose a fitted plane and get a Hann window; of the mean
    of their power spectra, ``sum f NPS(u, v) / sum NPS(u, v)`` with ``f = |(u, v)|`` is
    taken over the whole plane, corners included, but for frequency 0. This is what
    model cards hold; it is not the ``noise_frequency_per_cm`` of quality.json, a mean
    over the radial spectrum.

    Args:
        slices: (rows, columns) in HU.
        spacing_mm: Row and column spacing in mm.

    Returns:
        Mean frequency in 1/cm; None where there is too little soft tissue or the
        spacing is not known.
    """
    if not min(spacing_mm) > 0:
        return None
    pieces = [piece for hu in slices for piece in _soft_tissue(hu)]
    if not pieces:
        return None
    pieces = np.stack(pieces)
    pieces -= _planes(pieces)
    deviations = pieces.std(axis=(1, 2))
    quiet = pieces[deviations <= np.quantile(deviations, _QUIET_SHARE)]
    if len(quiet) < FEWEST_PIECES or not quiet.any():
        return None
    # Without a window smooth noise would leak into high frequencies.
    window = np.hanning(PIECE + 2)[1:-1]
    quiet = quiet * np.outer(window, window)
    power = np.mean(np.abs(np.fft.fft2(quiet)) ** 2, axis=0)
    power[0, 0] = 0.0
    row_mm, column_mm = spacing_mm
    frequency = np.hypot(
        np.fft.fftfreq(PIECE, row_mm / 10)[:, None],
        np.fft.fftfreq(PIECE, column_mm / 10)[None, :],
    )
    return float((frequency * power).sum() / power.sum())


def _soft_tissue(hu: np.ndarray) -> list[np.ndarray]:
    """Pieces of a slice that are soft tissue on average, float64."""
    low, high = SOFT_TISSUE_HU
    rows, columns = hu.shape
    pieces = (
        hu[row : row + PIECE, column : column + PIECE]
        for row in range(0, rows - PIECE + 1, STEP)
        for column in range(0, columns - PIECE + 1, STEP)
    )
    return [
        piece.astype(np.float64)
        for piece in pieces
        if low < piece.mean() < high and piece.min() > -500
    ]


def _planes(pieces: np.ndarray) -> np.ndarray:
    """The plane that fits each piece best."""
    rows, columns = np.indices((PIECE, PIECE)).reshape(2, -1)
    basis = np.stack([np.ones(PIECE * PIECE), rows, columns], axis=1)
    flat = pieces.reshape(len(pieces), -1).T
    fitted = basis @ np.linalg.lstsq(basis, flat, rcond=None)[0]
    return fitted.T.reshape(pieces.shape)
