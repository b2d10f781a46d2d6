"""Wasserstein losses against closed forms and finite differences."""

import keras
import numpy as np
import pytest

from ct_keras import models
from ct_keras.losses import wasserstein


def _images(count=4, size=6, seed=0):
    values = np.random.default_rng(seed).uniform(0, 1, (count, size, size, 1))
    return values.astype(np.float32)


def _linear_critic(weights: np.ndarray) -> keras.Model:
    """f(x) = w . x + 3."""
    size = weights.shape[0]
    image = keras.Input((size, size, 1))
    score = keras.layers.Dense(1, name="score")(keras.layers.Flatten()(image))
    critic = keras.Model(image, score)
    critic.set_weights([weights.reshape(-1, 1), np.array([3.0])])
    return critic


def _penalty(critic, seed=0):
    mix = np.random.default_rng(seed).uniform(size=(4, 1, 1, 1)).astype(np.float32)
    size = critic.input_shape[1]
    return wasserstein.gradient_penalty(
        critic,
        reference=_images(size=size, seed=1),
        prediction=_images(size=size, seed=2),
        mix=mix,
    )


def test_critic_prefers_references_and_generator_the_opposite():
    real, fake = np.array([[3.0], [5.0]]), np.array([[1.0], [-2.0]])
    loss = wasserstein.critic_loss(reference_scores=real, prediction_scores=fake)
    assert float(loss) == pytest.approx(-0.5 - 4)
    assert float(wasserstein.generator_loss(prediction_scores=fake)) == 0.5


def test_points_between_have_a_weight_per_sample():
    reference, prediction = _images(2, seed=1), _images(2, seed=2)
    mix = np.array([0.25, 1.0], np.float32).reshape(2, 1, 1, 1)
    between = wasserstein.interpolate(
        reference=reference, prediction=prediction, mix=mix
    )
    expected = 0.25 * reference[0] + 0.75 * prediction[0]
    assert np.asarray(between)[0] == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(np.asarray(between)[1], reference[1])


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_penalty_of_a_linear_critic(scale):
    weights = scale * np.random.default_rng(3).normal(size=(6, 6))
    norm = np.sqrt(np.sum(weights**2))
    penalty = float(_penalty(_linear_critic(weights)))
    assert penalty == pytest.approx((norm - 1) ** 2, rel=1e-5)


def test_penalty_of_a_scaled_sum_and_of_unit_slope():
    a = np.full((6, 6), -0.4)
    assert float(_penalty(_linear_critic(a))) == pytest.approx((0.4 * 6 - 1) ** 2)
    unit = np.full((6, 6), 1 / 6)
    assert float(_penalty(_linear_critic(unit))) == pytest.approx(0, abs=1e-9)


def test_norm_is_per_sample_over_all_pixels():
    gradient = np.zeros((2, 3, 3, 1))
    gradient[0, 0, 0], gradient[0, 2, 1], gradient[1, 1, 1] = 3.0, 4.0, 2.0
    assert float(wasserstein.norm_penalty(gradient)) == pytest.approx((16 + 1) / 2)


def test_zero_gradient_has_a_finite_slope():
    import tensorflow as tf

    gradient = tf.Variable(np.zeros((2, 3, 3, 1), np.float32))
    with tf.GradientTape() as tape:
        penalty = wasserstein.norm_penalty(gradient)
    assert float(penalty) == pytest.approx(1, abs=1e-5)
    assert np.isfinite(np.asarray(tape.gradient(penalty, gradient))).all()


def _smooth_critic() -> keras.Model:
    """A critic without kinks, so that finite differences converge."""
    image = keras.Input((16, 16, 1))
    x = keras.layers.Conv2D(3, 3, strides=2, activation="tanh", name="c2")(image)
    score = keras.layers.Dense(1, name="score")(keras.layers.Flatten()(x))
    return keras.Model(image, score)


@pytest.mark.parametrize(
    ("make_critic", "layer"),
    [
        (_smooth_critic, "c2"),
        # Without kinks only in its last layer: leaky ReLUs switch when others move.
        (lambda: models.WganVggCritic(width=2, patch_size=16), "score"),
    ],
)
def test_slope_of_the_penalty_by_weights_equals_finite_differences(make_critic, layer):
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    critic = make_critic()
    variable = critic.get_layer(layer).kernel
    with tf.GradientTape() as tape:
        penalty = _penalty(critic)
    slope = np.asarray(tape.gradient(penalty, variable))
    norm = np.sqrt(np.sum(slope**2))
    at, step = np.asarray(variable), 1e-2

    def moved(by):
        variable.assign(at + by * slope / norm)
        return float(_penalty(critic))

    assert norm > 1e-2
    assert (moved(step) - moved(-step)) / (2 * step) == pytest.approx(norm, rel=0.01)
