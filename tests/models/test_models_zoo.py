"""What holds for every network of the zoo."""

import keras
import numpy as np
import pytest

from ct_keras import models
from ct_keras.errors import CtKerasError


def _noise(shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


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


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(CtKerasError) as refusal:
        models.build("red_cmm")
    assert refusal.value.code == "CTK-E092"
    assert "red_cnn" in str(refusal.value)
    with pytest.raises(CtKerasError) as refusal:
        models.get_spec("red_cnn").recipe("slow")
    assert refusal.value.code == "CTK-E084"
