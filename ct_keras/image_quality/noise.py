"""Noise level and noise texture of patient scans: noise index and noise frequency.

Both are estimated from single scans in soft tissue, for filters, guards and model
cards. Repeated scans of a phantom allow more accurate measurements: see `nps`.

Noise level: the most frequent standard deviation in a small window around each
soft-tissue pixel. Edges and vessels raise the deviation in some windows, but rarely to
the same value. Anatomy still contributes a little, so the index ranks scans rather than
measuring the true sigma.

Noise texture: the mean frequency of the noise power spectrum. Kernels and iterative
reconstruction change the noise texture more than the noise level, and a network that
was trained on one texture may smooth another too little or too much.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ct_keras.dicom.series import Series
from ct_keras.hu import PADDING_HU
from ct_keras.metrics.tissues import NOISE_WINDOW_HU

WINDOW_MM = 7.0
#: Minimum number of windows for an estimate.
FEWEST_WINDOWS = 500
_BIN_HU = 0.25
#: Minimum upper end of the histogram.
_LARGEST_HU = 400.0
_MOST_BINS = 20_000
#: Size of the square pieces in which the texture is measured, and their distance.
PIECE, STEP = 24, 12
#: Pieces with more structure than the most uniform quarter are left out.
_QUIET_SHARE = 0.25
#: Minimum number of uniform pieces for an estimate.
FEWEST_PIECES = 8


def noise_level_hu(series: Series, *, slices: int = 5) -> float | None:
    """Estimates the noise of a series in HU.

    Args:
        series: Any CT series.
        slices: Number of slices to measure, spread over the middle half.

    Returns:
        The global noise index in HU, None if there is too little soft tissue.
    """
    read = (series.read(index).hu for index in middle_slices(len(series), slices))
    return noise_index_hu(read, series.spacing_mm[1:])


def middle_slices(count: int, slices: int = 5) -> list[int]:
    """Returns the indices of the slices to measure, spread over the middle half."""
    ends = (count - 1) * np.array([0.25, 0.75])
    return np.unique(np.rint(np.linspace(*ends, slices)).astype(int)).tolist()


def noise_index_hu(
    slices: Iterable[np.ndarray], spacing_mm: tuple[float, float]
) -> float | None:
    """Returns the global noise index of slices, None for too little soft tissue.

    Args:
        slices: (rows, columns) in HU.
        spacing_mm: (row, column) in mm; NaN if unknown.
    """
    deviations = [soft_tissue_deviations(hu, spacing_mm) for hu in slices]
    return deviation_mode(np.concatenate(deviations))


def soft_tissue_deviations(
    hu: np.ndarray, spacing_mm: tuple[float, float]
) -> np.ndarray:
    """Returns the standard deviations of all soft-tissue windows of one slice.

    Args:
        hu: (rows, columns) in HU.
        spacing_mm: (row, column) in mm; windows are 7 mm wide.

    Returns:
        float64 (windows,) in HU, for windows that contain only soft tissue.
    """
    size = [
        _window(step, length) for step, length in zip(spacing_mm, hu.shape, strict=True)
    ]
    hu = np.maximum(hu.astype(np.float64), PADDING_HU)
    mean = _box_mean(hu, size)
    square = _box_mean(hu * hu, size)
    low, high = NOISE_WINDOW_HU
    deviation = np.sqrt(np.maximum(square - mean * mean, 0))
    pixels = size[0] * size[1]
    deviation *= np.sqrt(pixels / max(1, pixels - 1))
    return deviation[(mean > low) & (mean < high)]


def _window(step_mm: float, length: int) -> int:
    """Pixels of a window along one axis: odd, at least 3; 9 for unknown spacing."""
    size = 9 if not step_mm > 0 else 2 * round((WINDOW_MM / step_mm - 1) / 2) + 1
    return min(max(size, 3), length)


def _box_mean(image: np.ndarray, size: list[int]) -> np.ndarray:
    """Means of all windows inside the image."""
    sums = np.zeros((image.shape[0] + 1, image.shape[1] + 1))
    sums[1:, 1:] = image.cumsum(0).cumsum(1)
    rows, columns = size
    total = sums[rows:, columns:] - sums[:-rows, columns:]
    total += sums[:-rows, :-columns] - sums[rows:, :-columns]
    return total / (rows * columns)


def deviation_mode(deviations: np.ndarray) -> float | None:
    """Returns the most frequent deviation in HU, None if there are too few.

    The histogram is smoothed by a Gaussian of a tenth of the lower quartile, so that
    the result does not depend on a single bin. Its range adapts to the noise and
    includes all but the largest deviations; an image without contrast gets the smallest
    bin.
    """
    if len(deviations) < FEWEST_WINDOWS:
        return None
    lower, upper = np.percentile(deviations, [25, 95])
    largest = max(_LARGEST_HU, 1.5 * float(upper))
    step = max(_BIN_HU, largest / _MOST_BINS)
    bins = np.arange(0, largest + step, step)
    counts, _ = np.histogram(deviations, bins)
    width = max(1.0, 0.1 * float(lower) / step)
    reach = int(np.ceil(3 * width))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    smooth = np.convolve(counts, weights / weights.sum(), mode="same")
    return float(bins[int(np.argmax(smooth))] + step / 2)


def noise_frequency_per_cm(
    slices: Iterable[np.ndarray], spacing_mm: tuple[float, float]
) -> float | None:
    """Returns the mean frequency of the noise in soft tissue, in 1/cm.

    A fitted plane is subtracted from uniform pieces of soft tissue, which then get a
    Hann window. The result is ``sum f NPS(u, v) / sum NPS(u, v)`` with ``f = |(u, v)|``
    of their mean power spectrum, over the whole frequency plane including corners,
    without frequency 0. Model cards contain this value. It must not be compared with
    `nps.mean_radial_frequency`, the ``mean_frequency_mm`` of quality.json, which is
    lower (for white noise, 3.2 instead of 4.8 per cm at pixels of 0.8 mm).

    Args:
        slices: (rows, columns) in HU.
        spacing_mm: Row and column spacing in mm.

    Returns:
        Mean frequency in 1/cm; None if there is too little soft tissue or the spacing
        is unknown.
    """
    if not min(spacing_mm) > 0:
        return None
    pieces = [piece for hu in slices for piece in _soft_pieces(hu)]
    if not pieces:
        return None
    pieces = np.stack(pieces)
    pieces -= _planes(pieces)
    deviations = pieces.std(axis=(1, 2))
    quiet = pieces[deviations <= np.quantile(deviations, _QUIET_SHARE)]
    if len(quiet) < FEWEST_PIECES or not quiet.any():
        return None
    # Without a window, smooth noise would leak into high frequencies.
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


def _soft_pieces(hu: np.ndarray) -> list[np.ndarray]:
    """Pieces of a slice that are soft tissue on average, float64."""
    low, high = NOISE_WINDOW_HU
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
    """The least-squares plane of each piece."""
    rows, columns = np.indices((PIECE, PIECE)).reshape(2, -1)
    basis = np.stack([np.ones(PIECE * PIECE), rows, columns], axis=1)
    flat = pieces.reshape(len(pieces), -1).T
    fitted = basis @ np.linalg.lstsq(basis, flat, rcond=None)[0]
    return fitted.T.reshape(pieces.shape)
