"""The share of body in boxes of a slice, for the TensorFlow graph of training data."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from ct_keras import hu
from ct_keras.metrics.tissues import body_mask


def body(images: tf.Tensor) -> tf.Tensor:
    """Segments the body, including lungs and bowel gas; see `body_mask`.

    Args:
        images: float32 (images, rows, columns), network units.

    Returns:
        float32 (images, rows, columns), 1 in the body and 0 outside.
    """
    masks = tf.numpy_function(_masks, [images], tf.float32, stateful=False)
    return tf.ensure_shape(masks, images.shape)


def _masks(images: np.ndarray) -> np.ndarray:
    return np.stack([body_mask(hu.to_hu(image)) for image in images]).astype(np.float32)


def box_means(images: tf.Tensor, corners: tf.Tensor, size: int) -> tf.Tensor:
    """Averages images over square boxes.

    Args:
        images: float32 (images, rows, columns).
        corners: int32 (boxes, 2), first row and column.
        size: Rows and columns of a box.

    Returns:
        float32 (images, boxes).
    """
    shape = tf.shape(images)[1:]

    def inside(axis: int) -> tf.Tensor:
        distance = tf.range(shape[axis])[tf.newaxis] - corners[:, axis : axis + 1]
        return tf.cast((distance >= 0) & (distance < size), tf.float32)

    # The sum over a box is a product with two indicator matrices: exact, and much
    # faster than cutting all boxes.
    rows = tf.matmul(inside(0), images)
    return tf.reduce_sum(rows * inside(1), axis=2) / size**2
