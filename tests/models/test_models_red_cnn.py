"""RED-CNN to the layer."""

import keras
import numpy as np
import pytest

from ct_keras import models


def _noise(shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def test_parameter_count_of_the_paper():
    assert models.RedCNN(width=96).count_params() == 1_848_865


def _reference(network: keras.Model, x: np.ndarray) -> np.ndarray:
    """The table of the specification, transposed convolutions as padded ones."""
    relu = keras.ops.relu

    def conv(x, name):
        kernel, bias = network.get_layer(name).get_weights()
        return keras.ops.conv(x, kernel, padding="valid") + bias

    def deconv(x, name):
        kernel, bias = network.get_layer(name).get_weights()
        # A transposed convolution correlates with the kernel turned by 180 degrees,
        # and stores (rows, columns, out, in).
        turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
        padded = keras.ops.pad(x, ((0, 0), (4, 4), (4, 4), (0, 0)))
        return keras.ops.conv(padded, turned, padding="valid") + bias

    x0 = keras.ops.convert_to_tensor(x)
    r2 = relu(conv(relu(conv(x0, "conv1")), "conv2"))
    r3 = relu(conv(relu(conv(r2, "conv3")), "conv4"))
    y = relu(deconv(relu(conv(r3, "conv5")), "deconv1") + r3)
    y = relu(deconv(relu(deconv(y, "deconv2")), "deconv3") + r2)
    y = relu(deconv(relu(deconv(y, "deconv4")), "deconv5") + x0)
    return np.asarray(y)


def test_wiring_equals_the_table_of_the_paper():
    network = models.RedCNN(width=6)
    network.set_weights(
        [0.2 * _noise(w.shape, i) - 0.09 for i, w in enumerate(network.weights)]
    )
    x = _noise((2, 33, 41, 1))
    expected = _reference(network, x)
    assert expected.std() > 0.1
    assert np.asarray(network(x)) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_layer_sizes_for_an_80_pixel_patch():
    network = keras.models.clone_model(
        models.RedCNN(width=2), input_tensors=keras.Input((80, 80, 1))
    )
    sizes = {
        layer.name: layer.output.shape[1]
        for layer in network.layers
        if layer.name.startswith(("conv", "deconv")) and "relu" not in layer.name
    }
    assert [sizes[f"conv{i}"] for i in range(1, 6)] == [76, 72, 68, 64, 60]
    assert [sizes[f"deconv{i}"] for i in range(1, 6)] == [64, 68, 72, 76, 80]


def test_zero_weights_give_the_input_without_negative_values():
    network = models.RedCNN(width=4)
    network.set_weights([np.zeros(w.shape) for w in network.weights])
    x = _noise((1, 24, 30, 1)) - 0.5
    assert np.array_equal(np.asarray(network(x)), np.maximum(x, 0))


def test_identity_start_returns_the_input():
    x = _noise((1, 24, 30, 1))
    network = models.RedCNN(width=4, initializer="identity")
    assert np.array_equal(np.asarray(network(x)), x)


def test_identity_start_answers_to_differences_not_to_the_mean():
    keras.utils.set_random_seed(0)
    network = models.RedCNN(width=4, initializer="identity")
    kernel = np.asarray(network.get_layer("conv1").kernel)
    assert np.abs(kernel.sum((0, 1))).max() < 1e-5
    limit = np.sqrt(6 / (25 + 25 * 4))
    assert np.abs(kernel).max() == pytest.approx(8 * limit, rel=0.15)


def test_final_relu_is_an_option():
    x = _noise((1, 21, 21, 1)) - 5
    without = models.RedCNN(width=4, initializer="identity", final_relu=False)
    assert np.array_equal(np.asarray(without(x)), x)
    assert np.asarray(models.RedCNN(width=4, initializer="identity")(x)).max() == 0


def test_smallest_side_is_21():
    import tensorflow as tf

    network = models.RedCNN(width=2)
    assert network(_noise((1, 21, 21, 1))).shape == (1, 21, 21, 1)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        network(_noise((1, 20, 20, 1)))


def test_paper_initialiser_is_gaussian_of_a_hundredth():
    keras.utils.set_random_seed(0)
    network = models.RedCNN(width=32, initializer="gaussian")
    kernels = [np.asarray(network.get_layer(f"conv{i}").kernel) for i in (2, 3)]
    assert np.std(kernels[0]) == pytest.approx(0.01, rel=0.02)
    assert np.corrcoef(*map(np.ravel, kernels))[0, 1] == pytest.approx(0, abs=0.05)


def test_red_cnn_costs_458_gmac():
    network = models.RedCNN(width=96)
    assert models.count_macs(network) / 1e9 == pytest.approx(458, abs=0.5)
