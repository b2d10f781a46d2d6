"""How noisy a series is: the global noise index.

The standard deviation in a small window around each soft-tissue pixel is taken, and the
most frequent value is the noise: edges and vessels raise the deviation of some windows,
but seldom to the same value. Anatomy still adds a little, so the index ranks scans
rather than measures a true sigma.
"""

from __future__ import annotations

import numpy as np

from ct_keras.dicom.pixels import PADDING_HU
from ct_keras.dicom.series import Series

SOFT_TISSUE_HU = (0.0, 100.0)
WINDOW_MM = 7.0
#: Fewer windows than this give no estimate.
FEWEST_WINDOWS = 500
_BIN_HU = 0.25
#: The histogram reaches this far, and further where the noise does.
_LARGEST_HU = 400.0
_MOST_BINS = 20_000


def noise_level_hu(series: Series, *, slices: int = 5) -> float | None:
    """Estimates the noise of a series in HU.

    Args:
        series: Any CT series.
        slices: How many slices to look at, spread over the middle half.

    Returns:
        The global noise index in HU, None where there is too little soft tissue.
    """
    count = len(series)
    ends = (count - 1) * np.array([0.25, 0.75])
    indices = np.unique(np.rint(np.linspace(*ends, slices)).astype(int))
    _, row_mm, column_mm = series.spacing_mm
    deviations = [
        soft_tissue_deviations(series.read(index).hu, (row_mm, column_mm))
        for index in indices
    ]
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
    low, high = SOFT_TISSUE_HU
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
