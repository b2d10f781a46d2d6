"""Histogram loss of ADL, with a differentiable histogram.

Ghahremani et al. 2022, https://arxiv.org/abs/2204.14100. The public code counts pixels
with integer histograms, which have no gradient. Here each pixel is distributed over the
neighbouring bins, so that counts vary smoothly with its value.
"""

from __future__ import annotations

import math

from keras import ops

from ct_keras import hu
from ct_keras.errors import CtKerasError

BINS = 256
#: Standard deviation of the Gaussian kernel and its truncation, in bins.
GAUSSIAN_SIGMA = 1.0
GAUSSIAN_REACH = 4
KERNELS = ("triangular", "gaussian", "hard")


def histogram_counts(
    images,
    *,
    kernel: str = "triangular",
    hist_range: tuple[float, float] | None = None,
):
    """Counts the pixels of each image and channel in 256 bins.

    Bin k is centred at k / 255 of the range; values outside the range count in the end
    bins. All kernels conserve the number of pixels.

    Args:
        images: (batch, [slices,] rows, columns, channels), network units.
        kernel: "triangular": a pixel is distributed linearly over the two nearest bins
            (exact for 8-bit data). "gaussian": over the nine nearest, with a standard
            deviation of one bin. "hard": only the nearest bin, which has no gradient
            and is for monitoring only.
        hist_range: Lowest and highest value in HU; None for network units 0 to 1, where
            one bin is 16 HU.

    Returns:
        float32 (batch * channels, 256), counts.

    Raises:
        CtKerasError: CTK-E000 for an unknown kernel or an invalid range.
    """
    low, high = _units_range(hist_range)
    if kernel not in KERNELS:
        raise CtKerasError(
            "CTK-E000",
            "unknown histogram kernel",
            received=kernel,
            expected=", ".join(KERNELS),
        )
    values = (ops.cast(images, "float32") - low) / (high - low)
    position = ops.clip(values, 0.0, 1.0) * (BINS - 1)
    axes = len(images.shape)
    position = ops.transpose(position, (0, axes - 1, *range(1, axes - 1)))
    rows = ops.shape(position)[0] * ops.shape(position)[1]
    position = ops.reshape(position, (rows, -1))
    first = ops.expand_dims(ops.arange(rows) * BINS, axis=1)
    segments, shares = [], []
    for index, share in _shared(position, kernel):
        segments.append(ops.reshape(first + index, (-1,)))
        shares.append(ops.reshape(share, (-1,)))
    counts = ops.segment_sum(
        ops.concatenate(shares), ops.concatenate(segments), num_segments=rows * BINS
    )
    return ops.reshape(counts, (rows, BINS))


def histogram_loss(
    *,
    reference,
    prediction,
    kernel: str = "triangular",
    hist_range: tuple[float, float] | None = None,
):
    """Mean over the bins of log cosh of the difference in counts, per pixel.

    Summed over images and channels and divided by the total number of pixels; at most
    2 / 256.

    Args:
        reference: (batch, [slices,] rows, columns, channels), network units.
        prediction: The same shape.
        kernel: As for `histogram_counts`.
        hist_range: As for `histogram_counts`.

    Returns:
        A float32 scalar.
    """
    counts = [
        histogram_counts(images, kernel=kernel, hist_range=hist_range)
        for images in (prediction, reference)
    ]
    difference = ops.abs(counts[0] - counts[1])
    log_cosh = difference + ops.softplus(-2.0 * difference) - math.log(2.0)
    pixels = ops.cast(ops.size(reference), "float32")
    return ops.sum(ops.mean(log_cosh, axis=-1)) / pixels


def _shared(position, kernel: str):
    """Pairs of bin index (int32) and share of each pixel; shares sum to 1."""
    if kernel == "triangular":
        below = ops.stop_gradient(ops.clip(ops.floor(position), 0, BINS - 2))
        above = position - below
        index = ops.cast(below, "int32")
        return [(index, 1.0 - above), (index + 1, above)]
    nearest = ops.stop_gradient(ops.round(position))
    index = ops.cast(nearest, "int32")
    if kernel == "hard":
        return [(index, ops.ones_like(position))]
    offsets = range(-GAUSSIAN_REACH, GAUSSIAN_REACH + 1)
    weights = [
        ops.exp(-0.5 * ((position - nearest - offset) / GAUSSIAN_SIGMA) ** 2)
        for offset in offsets
    ]
    total = sum(weights)
    return [
        (ops.clip(index + offset, 0, BINS - 1), weight / total)
        for offset, weight in zip(offsets, weights, strict=True)
    ]


def _units_range(hist_range: tuple[float, float] | None) -> tuple[float, float]:
    if hist_range is None:
        return 0.0, 1.0
    low, high = hist_range
    if not low < high:
        raise CtKerasError(
            "CTK-E000",
            "invalid histogram range",
            received=f"{low} to {high} HU",
            expected="(lowest, highest) in HU",
        )
    return tuple((value + hu.OFFSET_HU) / hu.SCALE_HU for value in (low, high))
