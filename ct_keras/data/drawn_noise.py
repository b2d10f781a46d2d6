"""Noise drawn onto full-dose patches, in place of the low dose of the records.

Some reports train on artificial noise and not on paired doses. What they say of a noise
is kept, in network units (see `ct_keras.hu`): nothing is clipped, so a noisy patch may
leave the range of the values of a scanner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from ct_keras.data.patches import fold
from ct_keras.errors import CtKerasError


def noise_drawer(
    noise: Mapping[str, object],
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns the function that draws a noise onto patches.

    Args:
        noise: One of these, in network units:

            - ``{"kind": "uniform_multiplicative", "high": 2.5}``: every pixel times its
              own U(0, high). With 2.5 the mean is 1.25 and the standard deviation 0.722
              times the pixel.
            - ``{"kind": "uniform_additive", "high": 0.1}``: plus U(0, high).
            - ``{"kind": "gaussian", "sigma": 0.01}``: plus N(0, sigma^2). In place of
              the number a list, of which every patch draws one, or a tuple
              ``(low, high)``: every patch draws from U(low, high). A sigma of s on the
              grey values 0..255 of pictures is s/255 here.

    Returns:
        From patches, float32 (batch, ...), and seeds, int64 (2,), to the noisy patches:
        a function of both alone.

    Raises:
        CtKerasError: CTK-E000, for an unknown kind or an impossible setting.

    Example:
        >>> draw = noise_drawer({"kind": "gaussian", "sigma": [10 / 255, 30 / 255]})
        >>> draw(tf.zeros((2, 8, 8, 1)), tf.constant([0, 1], tf.int64)).shape
        TensorShape([2, 8, 8, 1])
    """
    settings = dict(noise)
    kind = settings.pop("kind", None)
    if kind not in _KINDS:
        raise CtKerasError(
            "CTK-E000",
            "unknown kind of noise",
            received=kind,
            expected=", ".join(_KINDS),
        )
    setting, draw = _KINDS[kind]
    if set(settings) != {setting}:
        raise CtKerasError(
            "CTK-E000",
            f"wrong settings for the noise {kind}",
            received=", ".join(settings) or "none",
            expected=setting,
        )
    value = settings[setting]
    if not (_possible_sigma if kind == "gaussian" else _possible)(value):
        raise CtKerasError(
            "CTK-E000",
            f"impossible {setting} of the noise {kind}",
            received=value,
            expected="numbers >= 0 in network units",
        )
    return lambda patches, seeds: draw(patches, seeds, value)


def _possible(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value < np.inf


def _possible_sigma(value: object) -> bool:
    if isinstance(value, tuple):
        return len(value) == 2 and all(map(_possible, value)) and value[0] <= value[1]
    if isinstance(value, list):
        return bool(value) and all(map(_possible, value))
    return _possible(value)


def _multiply_uniform(patches: tf.Tensor, seeds: tf.Tensor, high: float) -> tf.Tensor:
    return patches * (high * tf.random.stateless_uniform(tf.shape(patches), seeds))


def _add_uniform(patches: tf.Tensor, seeds: tf.Tensor, high: float) -> tf.Tensor:
    return patches + high * tf.random.stateless_uniform(tf.shape(patches), seeds)


def _add_gaussian(
    patches: tf.Tensor, seeds: tf.Tensor, sigma: float | Sequence[float]
) -> tf.Tensor:
    sigmas = _draw_sigmas(tf.shape(patches)[:1], fold(seeds, 0), sigma)
    each = tf.reshape(sigmas, [-1] + [1] * (patches.shape.rank - 1))
    pixels = tf.random.stateless_normal(tf.shape(patches), fold(seeds, 1))
    return patches + each * pixels


def _draw_sigmas(
    shape: tf.Tensor, seeds: tf.Tensor, sigma: float | Sequence[float]
) -> tf.Tensor:
    """One standard deviation for each patch of a batch."""
    if isinstance(sigma, tuple):
        low, high = sigma
        return low + (high - low) * tf.random.stateless_uniform(shape, seeds)
    levels = tf.constant(sigma, tf.float32, shape=[np.size(sigma)])
    drawn = tf.random.stateless_uniform(
        shape, seeds, maxval=np.size(sigma), dtype=tf.int32
    )
    return tf.gather(levels, drawn)


#: By kind: the name of its setting, and the function that draws it.
_KINDS = {
    "uniform_multiplicative": ("high", _multiply_uniform),
    "uniform_additive": ("high", _add_uniform),
    "gaussian": ("sigma", _add_gaussian),
}
