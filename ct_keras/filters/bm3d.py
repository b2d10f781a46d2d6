"""BM3D: block matching and filtering in three dimensions.

Written from the paper: K. Dabov, A. Foi, V. Katkovnik, K. Egiazarian, "Image denoising
by sparse 3-D transform-domain collaborative filtering", IEEE Trans. Image Process. 16
(2007), https://doi.org/10.1109/TIP.2007.901238, with the parameters of its normal
profile. Two details differ, as HU have neither a natural zero nor a fixed range: the
mean of a group is never shrunk, and the matching thresholds are multiples of the noise
variance, equal to the paper's at a standard deviation of 25.

Images are processed in strips of reference rows, several in parallel threads, so memory
grows with the width of an image and not with its area. Each strip is processed with
array operations.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.sparse import csc_array
from threadpoolctl import threadpool_limits

from ct_keras.filters.noise import given_or_estimated
from ct_keras.filters.transforms import bior_matrix, dct_matrix, haar_matrix

PATCH = 8
STEP = 3  # pixels between reference blocks
SEARCH_RADIUS = 19  # the window of 39 x 39 positions
LARGEST_GROUPS = (16, 32)  # blocks, first and second stage
#: Largest mean squared difference of matching blocks, in noise variances: 2500 and 400
#: on the 8-bit scale at a standard deviation of 25.
MATCH_LIMITS = (4.0, 0.64)
HARD_THRESHOLD = 2.7  # noise standard deviations
KAISER_BETA = 2.0
STRIP = 32  # reference rows
_MOST_THREADS = 4  # each holds some 200 MB for a strip of 512 columns
#: Larger than any squared difference within an image, so never a match.
_OUTSIDE = 1e6


@dataclass(frozen=True)
class _Groups:
    """Groups of similar blocks of a strip.

    Attributes:
        positions: (groups, largest) flat indices of the upper left corners.
        sizes: (groups,), powers of two: how many positions of each row are used.
    """

    positions: np.ndarray
    sizes: np.ndarray

    def by_size(self) -> Iterator[np.ndarray]:
        """Yields (size, groups) positions for each size that occurs."""
        for size in np.unique(self.sizes):
            yield self.positions[self.sizes == size, :size].T


def bm3d(
    image: np.ndarray, noise_sd: float | None = None, strength: float = 1.0
) -> np.ndarray:
    """Filters groups of similar blocks together, in two stages.

    Args:
        image: float32 (rows, columns), HU.
        noise_sd: Standard deviation of the noise in HU; None estimates it.
        strength: Factor on the noise level.

    Returns:
        float32 of the same shape, HU.
    """
    sigma = strength * given_or_estimated(image, noise_sd)
    if sigma == 0:
        return image
    rows, columns = image.shape
    missing = [(0, max(0, PATCH - length)) for length in image.shape]
    noisy = np.pad(np.asarray(image, np.float32), missing, mode="symmetric")
    with threadpool_limits(1, user_api="blas"):  # strips run in parallel instead
        basic = _stage(noisy, None, sigma)
        return _stage(noisy, basic, sigma)[:rows, :columns]


def _stage(noisy: np.ndarray, basic: np.ndarray | None, sigma: float) -> np.ndarray:
    """One pass over the image: hard thresholding, or Wiener filtering with a guide.

    Args:
        noisy: float32 (rows, columns), HU.
        basic: The estimate of the first stage, which guides the second one, or None.
        sigma: Noise standard deviation in HU.
    """
    transforms = _block_transform(
        bior_matrix(PATCH) if basic is None else dct_matrix(PATCH)
    )
    references = _grid(noisy.shape[0] - PATCH + 1)
    strips = [references[at : at + STRIP] for at in range(0, len(references), STRIP)]
    total, weights = np.zeros_like(noisy), np.zeros_like(noisy)
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        done = pool.map(
            lambda rows: _strip(noisy, basic, rows, sigma, transforms), strips
        )
        for band, summed, summed_weights in done:
            total[band] += summed
            weights[band] += summed_weights
    return total / weights


def _strip(
    noisy: np.ndarray,
    basic: np.ndarray | None,
    reference_rows: np.ndarray,
    sigma: float,
    transforms: tuple[np.ndarray, np.ndarray],
) -> tuple[slice, np.ndarray, np.ndarray]:
    """Filters the groups of some reference rows.

    Returns:
        The rows of the image that the groups cover, and for these the sums of weighted
        pixels and of weights.
    """
    forward, inverse = transforms
    first = max(0, reference_rows[0] - SEARCH_RADIUS)
    last = min(noisy.shape[0] - PATCH, reference_rows[-1] + SEARCH_RADIUS)
    band = slice(first, last + PATCH)
    second = basic is not None
    guide = basic if second else noisy
    groups = _match(guide[band], reference_rows - first, sigma, second)
    spectra = _spectra(noisy[band], forward)
    guides = _spectra(basic[band], forward) if second else None
    summed, weights = _filter_groups(groups, spectra, guides, sigma)
    window = np.outer(np.kaiser(PATCH, KAISER_BETA), np.kaiser(PATCH, KAISER_BETA))
    window = window.astype(np.float32)
    shape = (last + 1 - first, noisy.shape[1] - PATCH + 1)
    blocks = (summed @ inverse.T).reshape(*shape, PATCH, PATCH)
    return band, _fold(blocks, window), _fold(weights.reshape(*shape, 1, 1), window)


def _grid(count: int) -> np.ndarray:
    """Returns every third position and the last one."""
    return np.unique(np.append(np.arange(0, count, STEP), count - 1))


def _match(
    guide: np.ndarray, reference_rows: np.ndarray, sigma: float, second: bool
) -> _Groups:
    """Finds the blocks of a strip that are closest to each reference block."""
    largest, limit = LARGEST_GROUPS[second], MATCH_LIMITS[second]
    columns = guide.shape[1] - PATCH + 1
    reference_columns = _grid(columns)
    distances, shifts = _distances(guide, reference_rows, reference_columns)
    nearest = np.argpartition(distances, largest - 1, axis=1)[:, :largest]
    values = np.take_along_axis(distances, nearest, axis=1)
    order = np.argsort(values, axis=1)
    nearest = np.take_along_axis(nearest, order, axis=1)
    alike = (values <= limit * sigma**2 * PATCH**2).sum(axis=1)
    sizes = 2 ** np.floor(np.log2(np.maximum(alike, 1))).astype(int)
    corners = (reference_rows[:, None] * columns + reference_columns).reshape(-1, 1)
    return _Groups(corners + (shifts @ (columns, 1))[nearest], sizes)


def _distances(
    guide: np.ndarray, reference_rows: np.ndarray, reference_columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Computes distances between reference blocks and all blocks around them.

    Returns:
        (references, shifts) of squared differences summed over a block, and the shifts
        (shifts, 2) in rows and columns.
    """
    reach = SEARCH_RADIUS
    padded = cv2.copyMakeBorder(
        guide, reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=_OUTSIDE
    )
    top, bottom = reference_rows[0], reference_rows[-1] + PATCH
    width = guide.shape[1]
    own = np.ascontiguousarray(guide[top:bottom])
    chosen = np.ix_(reference_rows - top, reference_columns)
    axis = range(-reach, reach + 1)
    shifts = np.array([(row, column) for row in axis for column in axis])
    count = len(reference_rows) * len(reference_columns)
    distances = np.empty((len(shifts), count), np.float32)
    difference = np.empty_like(own)
    for index, (row, column) in enumerate(shifts):
        other = padded[
            top + reach + row : bottom + reach + row,
            reach + column : reach + column + width,
        ]
        np.subtract(own, other, out=difference)
        np.multiply(difference, difference, out=difference)
        sums = cv2.boxFilter(
            difference, -1, (PATCH, PATCH), anchor=(0, 0), normalize=False
        )
        distances[index] = sums[chosen].ravel()
    # The block itself comes first, regardless of rounding errors in its distance.
    distances[len(shifts) // 2] = -1
    return np.ascontiguousarray(distances.T), shifts


def _spectra(image: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """Transforms every block of an image: (blocks, coefficients)."""
    blocks = sliding_window_view(image, (PATCH, PATCH)).reshape(-1, PATCH * PATCH)
    return blocks @ forward.T


def _filter_groups(
    groups: _Groups, spectra: np.ndarray, guides: np.ndarray | None, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Shrinks each group and adds its blocks at their positions.

    Returns:
        (blocks, coefficients) of weighted sums, and (blocks,) of the weights.
    """
    summed = np.zeros_like(spectra)
    weights = np.zeros(len(spectra))
    for positions in groups.by_size():
        size, count = positions.shape
        haar = haar_matrix(size)
        group = _along_group(haar, spectra[positions])
        if guides is None:
            gain = np.abs(group) > HARD_THRESHOLD * sigma
        else:
            power = _along_group(haar, guides[positions]) ** 2
            gain = power / (power + np.float32(sigma**2))
        gain[0, :, 0] = 1  # the mean of the group
        group *= gain
        weight = 1 / np.einsum("gnc,gnc->n", gain, gain, dtype=np.float32)
        filtered = _along_group(haar.T, group).reshape(size * count, -1)
        flat, each = positions.ravel(), np.tile(weight, size)
        pick = csc_array(
            (each, flat, np.arange(size * count + 1)), (len(spectra), size * count)
        )
        summed += pick @ filtered
        weights += np.bincount(flat, each, len(spectra))
    return summed, weights.astype(np.float32)


def _along_group(matrix: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Applies a matrix along the first axis of (size, groups, coefficients)."""
    return (matrix @ group.reshape(len(group), -1)).reshape(group.shape)


def _fold(blocks: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Adds (rows, columns, 8, 8) blocks at their positions, weighted by a window."""
    rows, columns = blocks.shape[:2]
    blocks = np.broadcast_to(blocks, (rows, columns, PATCH, PATCH))
    image = np.zeros((rows + PATCH - 1, columns + PATCH - 1), np.float32)
    for row, column in np.ndindex(PATCH, PATCH):
        target = image[row : row + rows, column : column + columns]
        target += blocks[:, :, row, column] * window[row, column]
    return image


def _block_transform(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Forward and inverse 2-D transform as matrices on flattened blocks."""
    inverse = np.linalg.inv(matrix)
    return (
        np.kron(matrix, matrix).astype(np.float32),
        np.kron(inverse, inverse).astype(np.float32),
    )
