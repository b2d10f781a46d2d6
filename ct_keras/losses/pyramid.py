"""Pyramidal textural loss of ADL: differences between scales, without decimation.

Ghahremani et al. 2022, https://arxiv.org/abs/2204.14100. An image is smoothed
repeatedly with a binomial kernel of growing tap spacing (the a trous transform); what
each smoothing removes is the texture of that scale, and the loss compares textures.
"""

from __future__ import annotations

import numpy as np
from keras import ops

#: A Gaussian of sigma 0.6 pixels, not yet normalised (its sum is 0.999932).
PRE_BLUR = (0.002566, 0.1655, 0.6638, 0.1655, 0.002566)
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
LEVELS = 3


def atrous_pyramid(images, *, levels: int = LEVELS, pre_blur: bool = True):
    """Decomposes images into textures of growing scale and a smooth residual.

    Level j smooths along each axis with [1, 4, 6, 4, 1] / 16, its taps 2^(j-1) pixels
    apart. Images are mirrored at their edges (without repeating the edge), repeatedly
    if the kernel is longer than the image, so any size is accepted.

    Args:
        images: (batch, rows, columns, channels) or, for volumes,
            (batch, slices, rows, columns, channels).
        levels: Number of textures.
        pre_blur: Smooth with a Gaussian of sigma 0.6 pixels first.

    Returns:
        The textures, a list of float32 tensors of the same shape from fine to coarse,
        and the residual. Their sum is the image, pre-blurred if requested.
    """
    smooth = ops.cast(images, "float32")
    if pre_blur:
        kernel = np.array(PRE_BLUR)
        smooth = _smooth(smooth, kernel / kernel.sum(), 1)
    textures = []
    for level in range(levels):
        smoother = _smooth(smooth, BINOMIAL, 2**level)
        textures.append(smooth - smoother)
        smooth = smoother
    return textures, smooth


def pyramidal_textural_loss(*, reference, prediction, levels: int = LEVELS):
    """Sum over the levels of the mean absolute difference of textures.

    The public code keeps only the last level; the paper and this function sum all.

    Args:
        reference: (batch, [slices,] rows, columns, channels), network units.
        prediction: The same shape.
        levels: Number of textures.

    Returns:
        A float32 scalar.
    """
    # The transform is linear, so the difference is transformed once.
    difference = ops.cast(prediction, "float32") - ops.cast(reference, "float32")
    textures, _ = atrous_pyramid(difference, levels=levels)
    return sum(ops.mean(ops.abs(texture)) for texture in textures)


def _smooth(x, taps, spacing: int):
    """Convolves with a symmetric kernel of odd length along every spatial axis."""
    reach = len(taps) // 2 * spacing
    for axis in range(1, len(x.shape) - 1):
        if x.shape[axis] == 1:
            continue  # mirrored, a single pixel is constant
        padded = _mirror(x, axis, reach)
        x = sum(
            float(tap) * _shifted(padded, axis, index * spacing, 2 * reach)
            for index, tap in enumerate(taps)
        )
    return x


def _shifted(padded, axis: int, start: int, surplus: int):
    """Crops an axis by `surplus` pixels in total, starting at `start`."""
    window = [slice(None)] * len(padded.shape)
    window[axis] = slice(start, (start - surplus) or None)
    return padded[tuple(window)]


def _mirror(x, axis: int, reach: int):
    """Mirrors both ends of an axis, repeatedly if it is shorter than `reach`."""
    while reach > 0:
        length = x.shape[axis]
        step = reach if length is None else min(reach, length - 1)
        widths = [[0, 0] for _ in x.shape]
        widths[axis] = [step, step]
        x = ops.pad(x, widths, mode="reflect")
        reach -= step
    return x
