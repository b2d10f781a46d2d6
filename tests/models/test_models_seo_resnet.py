"""Seo's network, its dilated back-propagation and its Adam, against golden numbers."""

import csv

import keras
import numpy as np
import pytest

from ct_keras import models
from ct_keras.data.noises import DrawnNoise
from ct_keras.models import DilatedBackprop, SeoAdam, SeoResNet
from ct_keras.models.seo_resnet import LAYERS, decay_rate, dilated_gradients
from ct_keras.training import train

GOLDEN_NORMS = {
    0: "3006.64 921.360 100.469 728.282 499.831 78.9914 521.429 1360.77 109.314",
    1: "6871.95 2096.00 380.203 1567.51 879.713 121.226 521.429 1360.77 109.314",
    1000: "3.19011e10 2.04174e8 2.87485e7 897079 484805 55223.1 521.429 1360.77 "
    "109.314",
}


def _noise(shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


@pytest.fixture(scope="module")
def case():
    """The deterministic case of the specification: network, x and y in float64."""

    def in_double(layer):
        return type(layer).from_config(layer.get_config() | {"dtype": "float64"})

    network = keras.models.clone_model(
        SeoResNet(),
        input_tensors=keras.Input((None, None, 1), dtype="float64"),
        clone_function=in_double,
    )
    for q, name in enumerate(LAYERS):
        kernel = network.get_layer(name).kernel
        n = np.arange(np.prod(kernel.shape))
        kernel.assign((0.2 * np.sin(0.7 * n + q)).reshape(kernel.shape))
    rows, columns = np.indices((12, 12))
    x = ((12 * rows + columns) / 144)[None, :, :, None]
    return network, x, x / 2


@pytest.mark.parametrize(("width", "parameters"), [(8, 2_528), (128, 608_768)])
def test_parameter_count_of_the_article(width, parameters):
    assert SeoResNet(width=width).count_params() == parameters


def test_forward_pass_of_the_golden_case(case):
    network, x, y = case
    output = np.asarray(network(x))
    assert output.dtype == np.float64
    assert output.mean() == pytest.approx(0.9499165, abs=1e-7)
    assert output[0, 0, 0, 0] == pytest.approx(0.0591717, abs=1e-7)
    assert 0.5 * ((output - y) ** 2).sum() == pytest.approx(360.28895, abs=1e-5)


@pytest.mark.parametrize("rho", [0, 1, 1000])
def test_gradient_norms_of_the_golden_case(case, rho):
    gradients, error = dilated_gradients(*case, rho)
    norms = [np.linalg.norm(np.asarray(gradients[name]).ravel()) for name in LAYERS]
    assert norms == pytest.approx(
        [float(text) for text in GOLDEN_NORMS[rho].split()], rel=5e-6
    )
    network, x, y = case
    assert np.asarray(error) == pytest.approx(np.asarray(network(x)) - y, abs=1e-12)


def _exact_gradients(network, x, y):
    import tensorflow as tf

    kernels = [network.get_layer(name).kernel for name in LAYERS]
    with tf.GradientTape() as tape:
        loss = 0.5 * tf.reduce_sum((network(x) - y) ** 2)
    exact = tape.gradient(loss, kernels)
    return {name: g.numpy() for name, g in zip(LAYERS, exact, strict=True)}


def test_without_rho_it_is_automatic_differentiation(case):
    gradients, _ = dilated_gradients(*case, 0.0)
    exact = _exact_gradients(*case)
    assert set(gradients) == set(LAYERS)
    for name in LAYERS:
        assert np.asarray(gradients[name]) == pytest.approx(exact[name], rel=1e-6), name


@pytest.mark.parametrize("rho", [0.01, 1000.0])
def test_with_rho_the_last_block_keeps_its_gradients_and_the_others_do_not(case, rho):
    gradients, _ = dilated_gradients(*case, rho)
    exact = _exact_gradients(*case)
    for name in LAYERS:
        same = np.allclose(np.asarray(gradients[name]), exact[name], rtol=1e-6)
        assert same == name.startswith("l3_"), name


def test_mixed_precision_gives_nearly_the_same():
    keras.utils.set_random_seed(1)
    plain = SeoResNet()
    plain.set_weights([_noise(w.shape, 3) - 0.4 for w in plain.weights])
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = SeoResNet()
    finally:
        keras.config.set_dtype_policy(policy)
    mixed.set_weights(plain.get_weights())
    x = _noise((2, 16, 16, 1))
    exact, _ = dilated_gradients(plain, x, 0.5 * x, 2.0)
    rounded, _ = dilated_gradients(mixed, x, 0.5 * x, 2.0)
    for name in LAYERS:
        one, other = np.asarray(exact[name]), np.asarray(rounded[name])
        assert other.dtype == np.float32
        assert np.linalg.norm(other - one) < 0.1 * np.linalg.norm(one), name


def test_rho_falls_with_the_epochs():
    assert decay_rate(0) == 1000
    assert decay_rate(9) == pytest.approx(581.3953, abs=1e-4)
    assert decay_rate(99) == pytest.approx(112.1076, abs=1e-4)
    assert decay_rate(0, 0.8, 0.1) == 0.8
    assert decay_rate(99, 0.8, 0.1) == pytest.approx(0.0734, abs=1e-4)


def test_adam_of_the_article_under_a_constant_gradient():
    import tensorflow as tf

    optimizer = SeoAdam(1e-2, epsilon=1e-8)
    variable = keras.Variable(np.zeros(2), dtype="float64")
    optimizer.build([variable])
    gradient = keras.ops.convert_to_tensor([0.3, -7.0], dtype="float64")
    update = tf.function(lambda: optimizer.apply([gradient], [variable]))
    steps, before = {}, np.zeros(2)
    for t in range(1, 2001):
        update()
        after = variable.numpy()
        steps[t], before = (before - after) / 1e-2, after
    golden = {1: 1.0, 10: 2.0643, 100: 1.0248, 1000: 0.39768, 2000: 0.34005}
    for t, expected in golden.items():
        assert steps[t] == pytest.approx([expected, -expected], rel=5e-5), t


def test_training_step_without_rho_is_gradient_descent():
    """Two steps of SGD give the same weights and losses as `fit` on the loss."""
    x, y = _noise((4, 16, 16, 1)), 0.5 * _noise((4, 16, 16, 1), 1)
    first, second = SeoResNet(initializer="glorot_uniform"), SeoResNet()
    second.set_weights(first.get_weights())
    dilated = DilatedBackprop(first, proportion=0.0)
    dilated.compile(keras.optimizers.SGD(0.05 / x.size))
    losses = [dilated.train_on_batch(x, y, return_dict=True)["loss"] for _ in range(2)]
    second.compile(keras.optimizers.SGD(0.05), "mse", loss_weights=0.5)
    expected = [second.train_on_batch(x, y, return_dict=True)["loss"] for _ in range(2)]
    assert losses[0] == pytest.approx(expected[0], rel=1e-5)
    assert losses[1] != losses[0]
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_fit_sets_rho_for_every_epoch():
    import tensorflow as tf

    system = DilatedBackprop(SeoResNet(width=2))
    system.compile(SeoAdam(1e-4))
    x = tf.data.Dataset.from_tensors((_noise((1, 8, 8, 1)), _noise((1, 8, 8, 1))))
    history = system.fit(
        x.repeat(), epochs=12, initial_epoch=9, steps_per_epoch=2, verbose=0
    )
    expected = [decay_rate(epoch) for epoch in (9, 10, 11)]
    assert history.history["rho"] == pytest.approx(expected, rel=1e-6)


def test_receptive_field_measured_from_the_gradient():
    import tensorflow as tf

    network = SeoResNet(width=2)
    network.set_weights([np.full(w.shape, 0.1, np.float32) for w in network.weights])
    x = tf.Variable(np.ones((1, 23, 23, 1), np.float32))
    with tf.GradientTape() as tape:
        centre = network(x)[0, 11, 11, 0]
    seen = tape.gradient(centre, x).numpy()[0, :, :, 0] != 0
    assert seen.any(0).sum() == seen.any(1).sum() == 13


def test_initial_weights_of_the_article():
    keras.utils.set_random_seed(0)
    network = SeoResNet(width=32)
    kernel = np.asarray(network.get_layer("l2_1").kernel)
    assert np.abs(kernel).max() <= 0.1
    # A normal cut at two standard deviations is narrower by 0.880.
    assert kernel.std() == pytest.approx(0.05 * 0.880, rel=0.02)


def test_identity_start_carries_the_image_through_the_shortcuts():
    keras.utils.set_random_seed(0)
    network = SeoResNet(initializer="identity")
    x = _noise((1, 20, 20, 1))
    assert np.asarray(network(x)) == pytest.approx(x, abs=0.05)
    flat = np.full_like(x, 0.25)
    inner = np.asarray(network(flat))[0, 6:-6, 6:-6]
    assert inner == pytest.approx(0.25, abs=1e-5)
    kernel = network.get_layer("l3_2").kernel
    assert np.abs(kernel).max() > 0
    kernel.assign(np.zeros(kernel.shape))
    assert np.array_equal(np.asarray(network(x)), x)


def test_recipes_choose_algorithm_optimiser_and_noise():
    spec = models.get_spec("seo_resnet")
    systems = {recipe.name: spec.make_system(recipe) for recipe in spec.recipes}
    dilated = {name for name, s in systems.items() if isinstance(s, DilatedBackprop)}
    assert dilated == {"report", "paper", "report_additive", "quick_dilated"}
    for name, system in systems.items():
        assert isinstance(system.optimizer, SeoAdam) == (name in dilated)
        assert system.network.name == "seo_resnet"
    assert (systems["report"].proportion, systems["report"].decay) == (1000, 0.08)
    report, additive = (spec.recipe(name) for name in ("report", "report_additive"))
    assert report.noise == DrawnNoise("uniform_multiplicative", high=2.5)
    assert additive.noise == DrawnNoise("uniform_additive", high=2.5)
    assert spec.recipe("quick").noise is None
    quick = systems["quick_dilated"].optimizer
    assert float(quick.get_config()["learning_rate"]["config"]["alpha"]) == 0.05


def test_optimiser_survives_its_configuration():
    optimizer = SeoAdam(0.1, beta_1=0.8, epsilon=1e-3)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is SeoAdam
    assert again.get_config() == optimizer.get_config()


def _train(records, out, recipe, **options):
    settings = {"epochs": 2, "steps": 3, "validation_slices": 1, "seed": 2}
    return train(
        "seo_resnet",
        records,
        out=out,
        recipe=recipe,
        **settings | options,
    )


@pytest.mark.parametrize("recipe", ["quick", "quick_dilated"])
def test_a_run_resumes_exactly(phantom_records, tmp_path, recipe):
    import shutil

    whole = _train(phantom_records, tmp_path / "whole", recipe)
    shutil.copytree(whole.run, tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "ckpt-00002")
    resumed = _train(phantom_records, tmp_path / "resumed", recipe, resume=True)
    states = []
    for run in (whole.run, resumed.run):
        with np.load(run / "checkpoints" / "ckpt-00002" / "arrays.npz") as arrays:
            states.append({name: arrays[name] for name in arrays.files})
    first, second = states
    assert sum("momentum" in name for name in first) == 9
    assert all(np.array_equal(first[name], second[name]) for name in first)
    rows = list(csv.DictReader((whole.run / "history.csv").open()))
    assert len(rows) == 2
    if recipe == "quick_dilated":
        rho = [float(row["rho"]) for row in rows]
        assert rho == pytest.approx([1000, 1000 / 1.08], rel=1e-4)
