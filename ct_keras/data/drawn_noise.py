"""Applies artificial noise to full-dose patches, in place of the recorded low dose.

Nothing is clipped, so noisy values may exceed the range of a scanner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from ct_keras.data.noises import DrawnNoise
from ct_keras.data.patches import fold


def noise_drawer(
    noise: DrawnNoise | Mapping[str, object],
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns the function that applies a noise to patches.

    Args:
        noise: A `DrawnNoise`, or its settings by name.

    Returns:
        A deterministic function of patches, float32 (batch, ...), and seeds, int64
        (2,), that returns the noisy patches.

    Raises:
        CtKerasError: CTK-E000, for an unknown kind or an invalid setting.

    Example:
        >>> draw = noise_drawer(DrawnNoise("gaussian", sigma_range=(0.0, 0.1)))
        >>> draw(tf.zeros((2, 8, 8, 1)), tf.constant([0, 1], tf.int64)).shape
        TensorShape([2, 8, 8, 1])
    """
    if not isinstance(noise, DrawnNoise):
        noise = DrawnNoise.from_plain(noise)
    draw = _KINDS[noise.kind]
    return lambda patches, seeds: draw(patches, seeds, noise)


def _multiply_uniform(
    patches: tf.Tensor, seeds: tf.Tensor, noise: DrawnNoise
) -> tf.Tensor:
    return patches * (
        noise.high * tf.random.stateless_uniform(tf.shape(patches), seeds)
    )


def _add_uniform(patches: tf.Tensor, seeds: tf.Tensor, noise: DrawnNoise) -> tf.Tensor:
    return patches + noise.high * tf.random.stateless_uniform(tf.shape(patches), seeds)


def _add_gaussian(patches: tf.Tensor, seeds: tf.Tensor, noise: DrawnNoise) -> tf.Tensor:
    sigmas = _draw_sigmas(tf.shape(patches)[:1], fold(seeds, 0), noise)
    each = tf.reshape(sigmas, [-1] + [1] * (patches.shape.rank - 1))
    pixels = tf.random.stateless_normal(tf.shape(patches), fold(seeds, 1))
    return patches + each * pixels


def _draw_sigmas(shape: tf.Tensor, seeds: tf.Tensor, noise: DrawnNoise) -> tf.Tensor:
    """One standard deviation for each patch of a batch."""
    if noise.sigma_range is not None:
        low, high = noise.sigma_range
        return low + (high - low) * tf.random.stateless_uniform(shape, seeds)
    levels = noise.sigma_choice or (noise.sigma,)
    drawn = tf.random.stateless_uniform(
        shape, seeds, maxval=len(levels), dtype=tf.int32
    )
    return tf.gather(tf.constant(levels, tf.float32), drawn)


#: The function of each kind.
_KINDS = {
    "uniform_multiplicative": _multiply_uniform,
    "uniform_additive": _add_uniform,
    "gaussian": _add_gaussian,
}
