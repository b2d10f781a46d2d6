"""How noisy, how fine: the noise index and the noise frequency of patients' scans.

Both are estimated from single scans in soft tissue, for filters, guards and cards. A
phantom that is scanned repeatedly tells more: see `nps`.

How noisy: the standard deviation in a small window around each soft-tissue pixel is
taken, and the most frequent value is the noise: edges and vessels raise the deviation
of some windows, but seldom to the same value. Anatomy still adds a little, so the index
ranks scans rather than measures a true sigma.

How fine: the mean frequency of the noise power spectrum. Kernels and iterative
reconstruction change the texture of noise more than its amount, and a network that was
trained on one texture may smooth another too little, or too much.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ct_keras.dicom.series import Series
from ct_keras.hu import PADDING_HU
from ct_keras.metrics.tissues import NOISE_WINDOW_HU

WINDOW_MM = 7.0
#: Fewer windows than this give no estimate.
FEWEST_WINDOWS = 500
_BIN_HU = 0.25
#: The histogram reaches this far, and further where the noise does.
_LARGEST_HU = 400.0
_MOST_BINS = 20_000
#: Pixels of a square piece in which the texture is measured, and their distance.
PIECE, STEP = 24, 12
#: Pieces with more structure than the quietest quarter of all are left out.
_QUIET_SHARE = 0.25
#: Fewer quiet pieces than this give no estimate.
FEWEST_PIECES = 8


def noise_level_hu(series: Series, *, slices: int = 5) -> float | None:
    """Estimates the noise of a series in HU.

    Args:
        series: Any CT series.
        slices: How many slices to look at, spread over the middle half.

    Returns:
        The global noise index in HU, None where there is too little soft tissue.
    """
    read = (series.read(index).hu for index in middle_slices(len(series), slices))
    return noise_index_hu(read, series.spacing_mm[1:])


def middle_slices(count: int, slices: int = 5) -> list[int]:
    """Returns which of so many slices are looked at, spread over the middle half."""
    ends = (count - 1) * np.array([0.25, 0.75])
    return np.unique(np.rint(np.linspace(*ends, slices)).astype(int)).tolist()


def noise_index_hu(
    slices: Iterable[np.ndarray], spacing_mm: tuple[float, float]
) -> float | None:
    """Returns the global noise index of slices, None for too little soft tissue.

    Args:
        slices: (rows, columns) in HU.
        spacing_mm: (row, column) in mm; NaN where it is not known.
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
        float64 (windows,) in HU, of windows that are soft tissue throughout.
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
    """Pixels of a window along one axis: odd, at least 3, 9 where nothing tells."""
    size = 9 if not step_mm > 0 else 2 * round((WINDOW_MM / step_mm - 1) / 2) + 1
    return min(max(size, 3), length)


def _box_mean(image: np.ndarray, size: list[int]) -> np.ndarray:
    """Means of all windows that lie inside the image."""
    sums = np.zeros((image.shape[0] + 1, image.shape[1] + 1))
    sums[1:, 1:] = image.cumsum(0).cumsum(1)
    rows, columns = size
    total = sums[rows:, columns:] - sums[:-rows, columns:]
    total += sums[:-rows, :-columns] - sums[rows:, :-columns]
    return total / (rows * columns)


def deviation_mode(deviations: np.ndarray) -> float | None:
    """Returns the most frequent deviation in HU, None if there are too few.

    The histogram is smoothed by a Gaussian of a tenth of the lower quartile, so that
    the answer does not hang on one bin. It holds all but the largest deviations,
    however noisy the image is; what has no contrast at all gets the smallest bin.
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

    Quiet pieces of soft tissue lose a fitted plane and get a Hann window; of the mean
    of their power spectra, ``sum f NPS(u, v) / sum NPS(u, v)`` with ``f = |(u, v)|`` is
    taken over the whole plane, corners included, but for frequency 0. This is what
    model cards hold. It must not be compared with `nps.mean_radial_frequency`, the
    ``mean_frequency_mm`` of quality.json, which is lower (white noise: 3.2 for 4.8 per
    cm at pixels of 0.8 mm).

    Args:
        slices: (rows, columns) in HU.
        spacing_mm: Row and column spacing in mm.

    Returns:
        Mean frequency in 1/cm; None where there is too little soft tissue or the
        spacing is not known.
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
    """The plane that fits each piece best."""
    rows, columns = np.indices((PIECE, PIECE)).reshape(2, -1)
    basis = np.stack([np.ones(PIECE * PIECE), rows, columns], axis=1)
    flat = pieces.reshape(len(pieces), -1).T
    fitted = basis @ np.linalg.lstsq(basis, flat, rcond=None)[0]
    return fitted.T.reshape(pieces.shape)
