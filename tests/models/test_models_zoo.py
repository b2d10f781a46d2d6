"""What holds for every network of the zoo."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from ct_keras import models
from ct_keras.errors import CtKerasError

NAMES = models.list_models()
RULES = {
    name: models.size_rule_of(models.build(name, width=2))
    for name in models.list_models()
}


def _noise(shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def _image(name, seed=0):
    """A picture or a volume of a size that the network takes."""
    spec, rule = models.get_spec(name), RULES[name]
    side = 40 if spec.dimensions == 2 else 16
    side = -(-max(side, rule.minimum) // rule.multiple) * rule.multiple
    return _noise((1, *[side] * spec.dimensions, 1), seed)


# Where a network halves the image, the field depends on the pixel.
FULL_SIZE = [name for name in NAMES if RULES[name].multiple == 1]


@pytest.mark.parametrize("name", FULL_SIZE)
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


@pytest.mark.parametrize("name", NAMES)
def test_names_of_input_and_output(name):
    network = models.build(name, width=2)
    assert network.name == name
    assert [tensor.name for tensor in network.inputs] == ["low_dose"]
    assert network.layers[-1].name == "denoised"
    assert network.output.dtype == "float32"


@pytest.mark.parametrize("name", NAMES)
def test_output_is_float32_under_mixed_precision(name):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = models.build(name, width=2)
    finally:
        keras.config.set_dtype_policy(policy)
    assert "bfloat16" in {layer.compute_dtype for layer in network.layers}
    assert keras.backend.standardize_dtype(network(_image(name)).dtype) == "float32"


@pytest.mark.parametrize("name", NAMES)
def test_recipes_have_the_three_names_and_quick_is_smaller(name):
    spec = models.get_spec(name)
    names = [recipe.name for recipe in spec.recipes]
    assert names[:3] == ["report", "paper", "quick"]
    assert len(set(names)) == len(names)
    quick = spec.recipe("quick")
    network = spec.builder(**quick.options)
    assert network.count_params() <= models.build(name).count_params()


@pytest.mark.parametrize("name", NAMES)
def test_json_does_not_change_a_recipe(name):
    spec = models.get_spec(name)
    for recipe in spec.recipes:
        again = models.Recipe.from_plain(json.loads(json.dumps(recipe.to_plain())))
        assert again == recipe
        settings = spec.settings.from_plain(recipe.training)
        plain = json.loads(json.dumps(settings.to_plain()))
        assert spec.settings.from_plain(plain) == settings


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("settings", [{"no_such_setting": 1}, {"lambda_l1": "x"}])
def test_a_setting_that_a_training_does_not_have_is_refused(name, settings):
    with pytest.raises(CtKerasError) as refusal:
        models.get_spec(name).settings.from_plain(settings)
    assert refusal.value.code == "CTK-E000"
    assert next(iter(settings)) in str(refusal.value)


_UNDER_JAX = """
import sys
import jax
import numpy as np
import keras
from ct_keras import models
assert keras.backend.backend() == "jax"
assert "tensorflow" not in sys.modules
# The weights come from the file; drawing them takes JAX ten times as long as the rest.
add_weight = keras.layers.Layer.add_weight
keras.layers.Layer.add_weight = lambda layer, *arguments, **options: add_weight(
    layer, *arguments, **options | {"initializer": "zeros"}
)
for name in models.list_models():
    stored = np.load(f"{sys.argv[1]}/{name}.npz")
    network = models.build(name, width=4)
    network.set_weights([stored[f"w{i}"] for i in range(len(network.weights))])
    run = jax.jit(lambda x: network(x, training=False))
    stored = dict(stored) | {"jax": np.asarray(run(stored["x"]))}
    np.savez(f"{sys.argv[1]}/{name}.npz", **stored)
"""


def test_every_network_gives_the_same_under_tensorflow_and_jax(tmp_path):
    pytest.importorskip("jax", reason="the extra jax is not installed")
    for name in NAMES:
        keras.utils.set_random_seed(0)
        network = models.build(name, width=4)
        x = _image(name)
        weights = {f"w{i}": np.asarray(w) for i, w in enumerate(network.weights)}
        y = np.asarray(network(x, training=False))
        np.savez(tmp_path / f"{name}.npz", x=x, y=y, **weights)
    environment = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    subprocess.run(
        [sys.executable, "-c", _UNDER_JAX, str(tmp_path)],
        check=True,
        env=os.environ | environment,
    )
    for name in NAMES:
        stored = np.load(tmp_path / f"{name}.npz")
        tolerance = min(1e-4, 0.01 * float(stored["y"].std()))
        assert tolerance > 0, name
        assert stored["jax"] == pytest.approx(stored["y"], abs=tolerance), name


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
