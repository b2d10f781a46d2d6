"""Resamples volumes to one spacing along all three axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ct_keras.arrays import as_hu
from ct_keras.errors import CtKerasError


def resample_volume(
    hu: np.ndarray, spacing_mm: Sequence[float], target_mm: float | Sequence[float]
) -> np.ndarray:
    """Resamples a volume to a spacing.

    Along an axis that becomes coarser, a new voxel is the mean of what it covers; along
    one that becomes finer, values are interpolated linearly. The volume keeps its
    centre, and its extent within half a voxel.

    Args:
        hu: (slices, rows, columns), HU.
        spacing_mm: (slice, row, column).
        target_mm: The new spacing: one number for all axes, or three.

    Returns:
        float32 (slices, rows, columns), HU.

    Raises:
        CtKerasError: CTK-E041 for wrong axes; CTK-E044 for values that are not finite;
            CTK-E037 for spacings that are unknown or not above 0.

    Example:
        >>> resample_volume(np.zeros((10, 20, 20)), (5.0, 0.8, 0.8), 1.0).shape
        (50, 16, 16)
    """
    volume = as_hu(hu)
    targets = np.broadcast_to(np.asarray(target_mm, float), 3)
    spacings = np.asarray(spacing_mm, float)
    known = np.isfinite([spacings, targets]).all() and min(*spacings, *targets) > 0
    if volume.ndim != 3 or not known:
        raise CtKerasError(
            "CTK-E037",
            "a volume cannot be resampled",
            received=f"{volume.ndim} axes, from {tuple(spacing_mm)} to {target_mm} mm",
            expected="(slices, rows, columns) and spacings above 0",
        )
    for axis, (old, new) in enumerate(zip(spacings, targets, strict=True)):
        matrix = resampling_weights(volume.shape[axis], new / old)
        volume = np.moveaxis(np.tensordot(matrix, volume, (1, axis)), 0, axis)
    return np.ascontiguousarray(volume)


def resampling_weights(count: int, step: float) -> np.ndarray:
    """Returns how much each old voxel counts in each new one, along one axis.

    Args:
        count: Number of old voxels.
        step: New spacing over old spacing.

    Returns:
        float32 (new voxels, old voxels); each row adds up to 1.
    """
    new = max(1, round(count / step))
    # Centres of the new voxels, in old voxels from the first edge.
    centres = count / 2 + (np.arange(new) - (new - 1) / 2) * step
    if step > 1:
        edges = np.arange(count + 1.0)
        edges[0], edges[-1] = -np.inf, np.inf  # the ends are continued
        cuts = np.clip(edges, *(centres[:, None] + side * step for side in (-0.5, 0.5)))
        weights = np.diff(cuts, axis=1) / step
    else:
        places = np.clip(centres - 0.5, 0, count - 1)[:, None]
        weights = np.maximum(0, 1 - np.abs(places - np.arange(count)))
    return weights.astype(np.float32)
