"""Local contrast for display. Its output is not in Hounsfield units."""

from __future__ import annotations

import numpy as np


def clahe(image: np.ndarray, tiles: int, clip_limit: float) -> np.ndarray:
    """Equalises the histogram of each tile, with its contrast limited.

    Grey values spread over the range of the image; how far a pixel moves depends on its
    surroundings, so that the same tissue gets different values. For looking only.

    Args:
        image: (rows, columns), HU.
        tiles: How many along each axis.
        clip_limit: Share of a tile's pixels that one grey value may have, 0 to 1; more
            gives more contrast.

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
