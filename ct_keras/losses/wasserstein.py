"""The Wasserstein losses of a generator and its critic, with gradient penalty.

Gulrajani I, Ahmed F, Arjovsky M, Dumoulin V, Courville A. Improved Training of
Wasserstein GANs. NeurIPS 2017. https://arxiv.org/abs/1704.00028

A critic gives one unbounded score per image, not a probability. It learns to score
references high and predictions low; the difference estimates the Wasserstein distance.
"""

from __future__ import annotations

import keras
from keras import ops

#: Keeps the square root of the gradient norm differentiable at zero.
NORM_EPSILON = 1e-12


def critic_loss(*, reference_scores, prediction_scores):
    """E[D(prediction)] - E[D(reference)], which a critic minimises.

    This is the order of the algorithm box (and of equation 7.5) of the comparison
    report; its equation 7.4 has the two signs swapped.

    Args:
        reference_scores: Scores of real images, (batch, 1).
        prediction_scores: Scores of generated images, (batch, 1).

    Returns:
        A float32 scalar: minus the estimate of the Wasserstein distance.
    """
    return _mean(prediction_scores) - _mean(reference_scores)


def generator_loss(*, prediction_scores):
    """-E[D(prediction)], which a generator minimises (a float32 scalar)."""
    return -_mean(prediction_scores)


def interpolate(*, reference, prediction, mix):
    """mix * reference + (1 - mix) * prediction, per sample.

    Args:
        reference: Real images, (batch, rows, columns, 1).
        prediction: Generated images of the same shape.
        mix: Weights drawn from U(0, 1), (batch, 1, 1, 1).

    Returns:
        float32 images on the straight lines between the pairs.
    """
    reference, prediction, mix = (
        ops.cast(x, "float32") for x in (reference, prediction, mix)
    )
    return mix * reference + (1 - mix) * prediction


def norm_penalty(gradient):
    """E[(||gradient||_2 - 1)^2], the norm taken over all pixels of a sample.

    Args:
        gradient: Gradient of each sample's score by its image, (batch, ...).

    Returns:
        A float32 scalar.
    """
    gradient = ops.cast(gradient, "float32")
    pixels = tuple(range(1, len(gradient.shape)))
    norm = ops.sqrt(ops.sum(ops.square(gradient), axis=pixels) + NORM_EPSILON)
    return ops.mean(ops.square(norm - 1.0))


def gradient_penalty(critic: keras.Model, *, reference, prediction, mix):
    """The penalty that keeps the gradient norm of a critic near 1 (TensorFlow only).

    It is differentiable with respect to the critic's weights (a second-order gradient).

    Args:
        critic: From images (batch, rows, columns, 1) to scores (batch, 1), float32.
        reference: Real images.
        prediction: Generated images of the same shape.
        mix: Weights drawn from U(0, 1), one per sample, (batch, 1, 1, 1).

    Returns:
        A float32 scalar, not yet weighted (the paper's lambda is 10).
    """
    import tensorflow as tf

    between = interpolate(reference=reference, prediction=prediction, mix=mix)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(between)
        scores = critic(between, training=True)
    return norm_penalty(tape.gradient(scores, between))


def _mean(scores):
    return ops.mean(ops.cast(scores, "float32"))
