"""RED-Net of 10, 20 and 30 layers, to the layer."""

import keras
import numpy as np
import pytest

from ct_keras import models
from ct_keras.errors import CtKerasError
from ct_keras.models import RedNet10, RedNet20, RedNet30, halo_of
from ct_keras.models.red_net import restoration_loss

BUILDERS = {10: RedNet10, 20: RedNet20, 30: RedNet30}
#: Which encoder layer joins after which deconvolution, as the paper pairs them.
SKIPS = {
    10: {},
    20: {2: 8, 4: 6, 6: 4, 8: 2},
    30: {1: 14, 3: 12, 5: 10, 7: 8, 9: 6, 11: 4, 13: 2},
}


def _noise(shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("depth", "parameters"), [(10, 296_641), (20, 665_921), (30, 1_035_201)]
)
def test_parameter_count_of_the_paper(depth, parameters):
    assert BUILDERS[depth](width=64).count_params() == parameters


def test_released_model_has_128_maps():
    assert RedNet30(width=128).count_params() == 4_134_785


def test_red_net30_costs_271_gmac():
    assert models.count_macs(RedNet30()) / 1e9 == pytest.approx(271, abs=0.5)


def _reference(network: keras.Model, x: np.ndarray, depth: int) -> np.ndarray:
    """The table of the paper; a transposed convolution turns its kernel."""
    relu, pairs = keras.ops.relu, depth // 2

    def conv(x, kernel, bias):
        return keras.ops.conv(x, kernel, padding="same") + bias

    def weights(name):
        return network.get_layer(name).get_weights()

    encoded = [keras.ops.convert_to_tensor(x)]
    for k in range(1, pairs + 1):
        encoded.append(relu(conv(encoded[-1], *weights(f"conv{k}"))))
    y = encoded[-1]
    for k in range(1, pairs + 1):
        kernel, bias = weights(f"deconv{k}")
        y = conv(y, kernel[::-1, ::-1].transpose(0, 1, 3, 2), bias)
        if k < pairs:
            y = relu(y)
        if k in SKIPS[depth]:
            y = relu(y + encoded[SKIPS[depth][k]])
    return np.asarray(y)


@pytest.mark.parametrize("depth", [10, 20, 30])
@pytest.mark.parametrize("residual", [True, False])
def test_wiring_equals_the_table_of_the_paper(depth, residual):
    network = BUILDERS[depth](width=5, residual=residual)
    network.set_weights(
        [0.4 * _noise(w.shape, i) - 0.17 for i, w in enumerate(network.weights)]
    )
    x = _noise((2, 11, 14, 1))
    expected = _reference(network, x, depth)
    assert expected.std() > 0.05
    assert np.asarray(network(x)) == pytest.approx(
        expected + residual * x, rel=1e-4, abs=1e-4
    )


@pytest.mark.parametrize(("depth", "adds"), [(10, False), (20, True), (30, True)])
def test_zero_weights_give_the_input_where_it_is_added(depth, adds):
    network = BUILDERS[depth](width=3)
    network.set_weights([np.zeros(w.shape) for w in network.weights])
    x = _noise((1, 9, 12, 1)) - 0.5
    assert np.array_equal(np.asarray(network(x)), adds * x)


@pytest.mark.parametrize(("depth", "side"), [(10, 21), (20, 41), (30, 61)])
def test_receptive_field_measured_from_the_gradient(depth, side):
    import tensorflow as tf

    network = BUILDERS[depth](width=2)
    network.set_weights([np.full(w.shape, 0.1, np.float32) for w in network.weights])
    x = tf.Variable(np.ones((1, side + 10, side + 10, 1), np.float32))
    with tf.GradientTape() as tape:
        centre = network(x)[0, side // 2 + 5, side // 2 + 5, 0]
    seen = tape.gradient(centre, x).numpy()[0, :, :, 0] != 0
    assert seen.any(0).sum() == seen.any(1).sum() == side
    spec = models.get_spec(f"red_net{depth}")
    assert (spec.receptive_field, halo_of(network)) == (side, side // 2)


@pytest.mark.parametrize("depth", [10, 20, 30])
def test_identity_start_returns_the_input(depth):
    x = _noise((1, 10, 13, 1))
    network = BUILDERS[depth](width=4, residual=True, initializer="identity")
    assert np.array_equal(np.asarray(network(x)), x)
    kernel = np.asarray(network.get_layer("conv1").kernel)
    assert np.abs(kernel.sum((0, 1))).max() < 1e-5
    assert np.abs(kernel).max() > 1


def test_identity_start_needs_the_sum_with_the_input():
    for build in (RedNet10, lambda **o: RedNet30(residual=False, **o)):
        with pytest.raises(CtKerasError) as refusal:
            build(width=2, initializer="identity")
        assert refusal.value.code == "CTK-E000"


@pytest.mark.parametrize("depth", [10, 30])
def test_fast_variant_works_at_half_size_with_the_same_weights(depth):
    slow, fast = (BUILDERS[depth](width=4, fast=fast) for fast in (False, True))
    assert fast.count_params() == slow.count_params()
    ratio = models.count_macs(fast, 64, 64) / models.count_macs(slow, 64, 64)
    assert ratio == pytest.approx(0.25, rel=0.01)
    assert fast(_noise((1, 12, 18, 1))).shape == (1, 12, 18, 1)


def test_fast_variant_denoises_odd_sizes():
    import ct_keras

    network = RedNet20(width=2, fast=True, initializer="identity")
    denoiser = ct_keras.Denoiser(network)
    x = np.rint(np.random.default_rng(0).normal(0, 100, (13, 7))).astype(np.float32)
    assert np.array_equal(denoiser(x), x)


def test_loss_of_the_lecture():
    reference, prediction = np.zeros((2, 3, 4, 1)), np.full((2, 3, 4, 1), 0.5)
    prediction[1] = 1.5
    mean = restoration_loss(reference=reference, prediction=prediction)
    assert float(mean) == pytest.approx((0.25 + 2.25) / 2)
    total = restoration_loss(
        reference=reference, prediction=prediction, reduction="sum_pixels"
    )
    assert float(total) == pytest.approx(12 * (0.25 + 2.25) / 2)
    with pytest.raises(CtKerasError, match="CTK-E000"):
        restoration_loss(reference=reference, prediction=prediction, reduction="sum")


@pytest.mark.parametrize("depth", [10, 20, 30])
def test_recipes(depth):
    spec = models.get_spec(f"red_net{depth}")
    report, paper, quick = (spec.recipe(n) for n in ("report", "paper", "quick"))
    assert report.noise is None
    assert spec.builder(width=2, **report.options).layers[-1].name == "denoised"
    levels = [255 * sigma for sigma in paper.noise.sigma_choice]
    assert levels == pytest.approx([10, 30, 50, 70])
    x = _noise((1, 8, 8, 1))
    assert np.array_equal(np.asarray(spec.builder(**quick.options)(x)), x)
