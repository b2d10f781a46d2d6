"""The share of body in boxes of a slice, for the TensorFlow graph of training data."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from ct_keras.metrics.tissues import body_mask


def body_shares(
    stored: tf.Tensor, rescale: tf.Tensor, corners: tf.Tensor, size: int
) -> tf.Tensor:
    """Measures which share of square boxes is body; see `body_mask`.

    Args:
        stored: int16 (images, rows, columns).
        rescale: float32 (2,), slope and intercept.
        corners: int32 (boxes, 2), first row and column.
        size: Rows and columns of a box.

    Returns:
        float32 (images, boxes).
    """

    def measured(stored, rescale, corners) -> np.ndarray:
        slope, intercept = rescale
        masks = [body_mask(image * slope + intercept) for image in stored]
        counts = [
            [np.count_nonzero(mask[r : r + size, c : c + size]) for r, c in corners]
            for mask in masks
        ]
        return np.array(counts, np.float32) / np.float32(size**2)

    arguments = stored, rescale, corners
    shares = tf.numpy_function(measured, arguments, tf.float32, stateful=False)
    return tf.ensure_shape(shares, (stored.shape[0], corners.shape[0]))
