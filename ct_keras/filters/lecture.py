"""The convolution kernels of the lecture, 3 x 3 and 5 x 5."""

from __future__ import annotations

import cv2
import numpy as np

from ct_keras.errors import CtKerasError

BLUR = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
OUTLINE = np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], np.float64)
#: The weights sum to 159 and match a standard deviation of about 1.4 pixels; they are
#: often printed with 1/115 and sigma 1, which raises all values by 38 %.
GAUSSIAN_WEIGHTS = np.array(
    [
        [2, 4, 5, 4, 2],
        [4, 9, 12, 9, 4],
        [5, 12, 15, 12, 5],
        [4, 9, 12, 9, 4],
        [2, 4, 5, 4, 2],
    ]
)
GAUSSIAN_5X5 = GAUSSIAN_WEIGHTS / GAUSSIAN_WEIGHTS.sum()


def correlate(
    image: np.ndarray, kernel: np.ndarray, *, valid: bool = False
) -> np.ndarray:
    """Correlates an image with a kernel, as the convolution of a network does.

    Args:
        image: (rows, columns), HU.
        kernel: (odd, odd) weights; a sum of 1 keeps HU.
        valid: Only positions where the kernel is inside the image, so the result is
            smaller by the kernel size minus one; otherwise borders are mirrored.

    Returns:
        float32, HU where the kernel sums to 1.

    Raises:
        CtKerasError: CTK-E000 for a kernel with an even side.
    """
    kernel = np.asarray(kernel, np.float64)
    if kernel.ndim != 2 or not all(side % 2 for side in kernel.shape):
        raise CtKerasError(
            "CTK-E000",
            "the kernel has no centre pixel",
            received=kernel.shape,
            expected="an odd number of rows and of columns",
        )
    image = np.ascontiguousarray(image, np.float32)
    result = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT)
    return inside(result, *kernel.shape) if valid else result


def inside(filtered: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Crops a result to the pixels whose window of this size is inside the image."""
    height, width = filtered.shape
    return filtered[rows // 2 : height - rows // 2, columns // 2 : width - columns // 2]


def blur(image: np.ndarray) -> np.ndarray:
    """Convolves with [1 2 1; 2 4 2; 1 2 1] / 16; (rows, columns) in HU."""
    return correlate(image, BLUR)


def outline(image: np.ndarray) -> np.ndarray:
    """Eight times a pixel minus its eight neighbours; flat regions become 0."""
    return correlate(image, OUTLINE)


def gaussian_5x5(image: np.ndarray) -> np.ndarray:
    """Convolves with the lecture's 5 x 5 Gaussian, normalised; HU stay HU."""
    return correlate(image, GAUSSIAN_5X5)
