"""Short orthogonal and wavelet transforms as matrices, for BM3D."""

from __future__ import annotations

import numpy as np
from scipy.fft import dct


def dct_matrix(size: int) -> np.ndarray:
    """The orthonormal DCT-II: (size, size), rows are basis functions."""
    return dct(np.eye(size), norm="ortho", axis=0)


def haar_matrix(size: int) -> np.ndarray:
    """The orthonormal Haar transform: float32 (size, size), size a power of two."""
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        coarse = np.kron(matrix, [1, 1])
        fine = np.kron(np.eye(len(matrix)), [1, -1])
        matrix = np.vstack([coarse, fine]) / np.sqrt(2)
    return matrix.astype(np.float32)


def bior_matrix(size: int) -> np.ndarray:
    """The biorthogonal spline wavelet 1.5, periodic: (size, size), a power of two.

    The rows are the analysis filters, each with unit norm, so that white noise has the
    same standard deviation in all coefficients.

    Reference:
        Cohen, Daubechies, Feauveau 1992, https://doi.org/10.1002/cpa.3160450502
    """
    low_taps = np.array([3, -3, -22, 22, 128, 128, 22, -22, -3, 3]) * np.sqrt(2) / 256
    high_taps = np.array([1, -1]) / np.sqrt(2)
    matrix = np.eye(size)
    length = size
    while length > 1:
        low = _decimated(low_taps, length, first=-4)
        high = _decimated(high_taps, length, first=0)
        matrix[:length] = np.vstack([low, high]) @ matrix[:length]
        length //= 2
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def _decimated(taps: np.ndarray, length: int, first: int) -> np.ndarray:
    """A periodic filter with decimation by two: (length / 2, length)."""
    matrix = np.zeros((length // 2, length))
    for row in range(length // 2):
        for index, tap in enumerate(taps):
            matrix[row, (2 * row + first + index) % length] += tap
    return matrix
