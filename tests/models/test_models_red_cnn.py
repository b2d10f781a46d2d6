"""RED-CNN to the layer, and what holds for every network of the zoo."""

import keras
import numpy as np
import pytest

from ct_keras import models
from ct_keras.errors import CtKerasError


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
    kernel = models.RedCNN(width=32, initializer="gaussian").get_layer("conv2").kernel
    assert np.std(np.asarray(kernel)) == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("name", models.list_models())
def test_receptive_field_measured_from_the_gradient(name):
    import tensorflow as tf

    spec = models.get_spec(name)
    network = models.build(name, width=4)
    size = spec.receptive_field + 20
    # Positive weights keep every ReLU open, so that nothing hides a dependence.
    network.set_weights([np.full(w.shape, 0.1, np.float32) for w in network.weights])
    x = tf.Variable(np.ones((1, size, size, 1), np.float32))
    with tf.GradientTape() as tape:
        centre = network(x)[0, size // 2, size // 2, 0]
    seen = np.any(tape.gradient(centre, x).numpy()[0, :, :, 0] != 0, axis=1)
    assert seen.sum() == spec.receptive_field


@pytest.mark.parametrize("name", models.list_models())
def test_names_of_input_output_and_layers(name):
    network = models.build(name, width=2)
    assert network.name == name
    assert [tensor.name for tensor in network.inputs] == ["low_dose"]
    assert network.layers[-1].name == "denoised"
    assert network.output.dtype == "float32"


@pytest.mark.parametrize("name", models.list_models())
def test_output_is_float32_under_mixed_precision(name):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = models.build(name, width=2)
    finally:
        keras.config.set_dtype_policy(policy)
    assert network.get_layer("conv2").compute_dtype == "bfloat16"
    assert network(_noise((1, 32, 32, 1))).dtype == "float32"


@pytest.mark.parametrize("name", models.list_models())
def test_recipes_build_and_have_the_three_names(name):
    spec = models.get_spec(name)
    assert [recipe.name for recipe in spec.recipes] == ["report", "paper", "quick"]
    quick = spec.builder(**spec.recipe("quick").options)
    assert quick.count_params() < models.build(name).count_params()


def test_operations_of_a_convolution_are_counted_by_hand():
    layers = keras.layers
    image = keras.Input((None, None, 1))
    x = layers.Conv2D(4, 3, padding="same")(image)
    network = keras.Model(image, layers.Conv2DTranspose(2, 3, padding="same")(x))
    assert models.count_macs(network, 10, 20) == 200 * (9 * 4) + 200 * (9 * 4 * 2)


def test_red_cnn_costs_458_gmac():
    network = models.RedCNN(width=96)
    assert models.count_macs(network) / 1e9 == pytest.approx(458, abs=0.5)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(CtKerasError) as refusal:
        models.build("red_cmm")
    assert refusal.value.code == "CTK-E092"
    assert "red_cnn" in str(refusal.value)
    with pytest.raises(CtKerasError) as refusal:
        models.get_spec("red_cnn").recipe("slow")
    assert refusal.value.code == "CTK-E084"
