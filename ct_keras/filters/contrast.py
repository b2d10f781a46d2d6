"""Local contrast for display. Its output is not in Hounsfield units."""

from __future__ import annotations

import numpy as np


def clahe(image: np.ndarray, tiles: int, clip_limit: float) -> np.ndarray:
    """Equalises the histogram of each tile, with limited contrast.

    Grey values are spread over the range of the image. The mapping depends on the
    surroundings of a pixel, so the same tissue gets different values: for display only.

    Args:
        image: (rows, columns), HU.
        tiles: Tiles along each axis.
        clip_limit: Largest share of a tile's pixels with one grey value, 0 to 1; higher
            values give more contrast.

    Reference:
        Zuiderveld 1994, Graphics Gems IV
    """
    from skimage.exposure import equalize_adapthist

    low, high = float(image.min()), float(image.max())
    if low == high:
        return image
    sides = [max(1, round(length / tiles)) for length in image.shape]
    unit = (np.asarray(image, np.float64) - low) / (high - low)
    return low + (high - low) * equalize_adapthist(
        unit, kernel_size=sides, clip_limit=clip_limit
    )
