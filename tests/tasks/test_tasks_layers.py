"""Pooling with switches, its inverse, and local response normalisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ct_keras.tasks import (
    LocalResponseNormalization,
    MaxPoolingWithSwitches,
    MaxUnpooling,
)


def _images(seed=0, shape=(2, 6, 8, 5)):
    """Half zeros as after a ReLU, and few different values: many ties."""
    values = np.random.default_rng(seed).integers(-3, 4, shape)
    return np.maximum(values, 0).astype(np.float32)


def _unpooled(x):
    """Maxima scattered to the indices that TensorFlow's max-pooling gives."""
    values, indices = tf.nn.max_pool_with_argmax(
        x, 2, 2, "VALID", include_batch_in_index=True
    )
    flat = np.zeros(x.size, np.float32)
    flat[np.asarray(indices).ravel()] = np.asarray(values).ravel()
    return flat.reshape(x.shape)


def test_unpooling_equals_the_indices_of_max_pooling():
    x = _images()
    maxima, switches = MaxPoolingWithSwitches()(x)
    expected = tf.nn.max_pool2d(x, 2, 2, "VALID")
    assert np.array_equal(np.asarray(maxima), np.asarray(expected))
    again = np.asarray(MaxUnpooling()([maxima, switches]))
    assert np.array_equal(again, _unpooled(x))


def test_first_of_equal_values_wins():
    x = np.full((1, 4, 4, 2), 7.0, np.float32)
    unpooled = np.asarray(MaxUnpooling()(MaxPoolingWithSwitches()(x)))
    assert np.array_equal(unpooled[0, :, :, 0], np.tile([[7, 0], [0, 0]], (2, 2)))
    _, switches = MaxPoolingWithSwitches()(np.zeros((1, 2, 2, 1), np.float32))
    assert np.asarray(switches).ravel().tolist() == [1, 0, 0, 0]


def test_gradient_goes_where_that_of_max_pooling_goes():
    x = tf.constant(np.random.default_rng(1).normal(size=(1, 4, 6, 3)))
    weights = tf.constant(np.random.default_rng(2).normal(size=(1, 2, 3, 3)))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        ours = MaxPoolingWithSwitches(dtype="float64")(x)[0]
        theirs = tf.nn.max_pool2d(x, 2, 2, "VALID")
        ours, theirs = (tf.reduce_sum(weights * y) for y in (ours, theirs))
    expected = np.asarray(tape.gradient(theirs, x))
    assert np.asarray(tape.gradient(ours, x)) == pytest.approx(expected)


def test_response_normalisation_equals_tensorflow():
    x = 30 * np.random.default_rng(0).random((2, 3, 3, 9)).astype(np.float32)
    expected = tf.nn.local_response_normalization(x, 2, 2.0, 1e-4, 0.75)
    result = np.asarray(LocalResponseNormalization()(x))
    assert result == pytest.approx(np.asarray(expected), rel=1e-5)
    assert np.abs(result - x / 2**0.75).max() > 0.5


@pytest.mark.parametrize(
    "name", ["LocalResponseNormalization", "MaxPoolingWithSwitches", "MaxUnpooling"]
)
def test_layers_are_registered_under_the_package(name):
    assert keras.saving.get_registered_object(f"ct_keras>{name}") is not None


def test_a_file_restores_layers_with_their_settings(tmp_path):
    image = keras.Input((4, 6, 3))
    x = LocalResponseNormalization(3, k=1.5, alpha=0.1, beta=0.5)(image)
    unpooled = MaxUnpooling()(MaxPoolingWithSwitches()(x))
    network = keras.Model(image, unpooled)
    network.save(tmp_path / "layers.keras")
    again = keras.saving.load_model(tmp_path / "layers.keras")
    x = _images(3, (2, 4, 6, 3))
    assert np.array_equal(np.asarray(again(x)), np.asarray(network(x)))
    assert again.output.shape == (None, 4, 6, 3)
