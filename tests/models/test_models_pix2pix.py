"""pix2pix to the layer, its training step, and that a resumed run is the same."""

import keras
import numpy as np
import pytest
from run_arrays import arrays_of, same_run

import ct_keras
from ct_keras import hu, models
from ct_keras.errors import CtKerasError
from ct_keras.models.identity_start import TANH_KNOTS_HU
from ct_keras.models.pix2pix import SPEC, make_system
from ct_keras.models.recipes import Recipe
from ct_keras.training import train, trainer

LN2 = 0.693147
TINY = {"width": 2, "depth": 3}


def _noise(shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def _trainable(network) -> int:
    return sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)


def _zeroed(network):
    network.set_weights([np.zeros(w.shape) for w in network.weights])
    return network


@pytest.mark.parametrize(
    ("options", "trainable", "all_weights"),
    [
        ({}, 54_413_313, 54_423_169),
        ({"bias_before_norm": False}, 54_407_809, 54_417_665),
        ({"depth": 7}, 41_827_329, 41_835_137),
        ({"depth": 7, "bias_before_norm": False}, 41_822_849, 41_830_657),
        ({"norm": "instance"}, 54_413_313, 54_413_313),
    ],
)
def test_parameter_counts_of_the_generator(options, trainable, all_weights):
    network = models.Pix2PixGenerator(width=64, **options)
    assert _trainable(network) == trainable
    assert network.count_params() == all_weights


def test_generator_costs_23_8_gmac():
    assert models.count_macs(models.Pix2PixGenerator()) / 1e9 == pytest.approx(
        23.8, abs=0.05
    )


def test_sizes_and_dropout_of_the_eight_levels():
    network = keras.models.clone_model(
        models.Pix2PixGenerator(width=1), input_tensors=keras.Input((256, 256, 1))
    )
    shapes = {layer.name: layer.output.shape[1:] for layer in network.layers}
    sizes = [shapes[f"e{i}"][0] for i in range(1, 8)]
    assert sizes == [128, 64, 32, 16, 8, 4, 2]
    assert shapes["bottleneck"] == (1, 1, 8)
    assert [shapes[f"d{i}"] for i in (1, 4, 7)] == [
        (2, 2, 8),
        (16, 16, 8),
        (128,) * 2 + (1,),
    ]
    dropouts = [name for name in shapes if name.endswith("dropout")]
    assert dropouts == ["d1_dropout", "d2_dropout", "d3_dropout"]
    assert "e1_norm" not in shapes
    assert "bottleneck_norm" not in shapes


def test_seven_levels_leave_out_e7_and_d1():
    names = [layer.name for layer in models.Pix2PixGenerator(width=1, depth=7).layers]
    assert "e7" not in names
    assert "d1" not in names
    dropouts = [name for name in names if name.endswith("dropout")]
    assert dropouts == ["d2_dropout", "d3_dropout", "d4_dropout"]


def _lively() -> keras.Model:
    """A tiny generator whose weights and moving statistics are all at work."""
    network = models.Pix2PixGenerator(**TINY)
    network.set_weights(
        [
            _noise(w.shape, i) - 0.45 * (w.ndim == 4)
            for i, w in enumerate(network.weights)
        ]
    )
    return network


def _reference(network: keras.Model, x: np.ndarray) -> np.ndarray:
    """The table of the specification at three levels, with padding written out."""
    ops = keras.ops
    pad = ((0, 0), (1, 1), (1, 1), (0, 0))

    def conv(x, name):
        kernel, bias = network.get_layer(name).get_weights()
        return ops.conv(ops.pad(x, pad), kernel, strides=2, padding="valid") + bias

    def deconv(x, name):
        kernel, bias = network.get_layer(name).get_weights()
        batch, rows, columns, maps = x.shape
        spread = np.zeros((batch, 2 * rows + 3, 2 * columns + 3, maps), np.float32)
        spread[:, 2:-2:2, 2:-2:2] = x
        turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
        return ops.conv(spread, turned, padding="valid") + bias

    def norm(x, name):
        gamma, beta, mean, variance = network.get_layer(name).get_weights()
        return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta

    def leaky(x):
        return ops.where(x > 0, x, 0.2 * x)

    e1 = leaky(conv(2 * x - 1, "e1"))
    e2 = leaky(norm(conv(e1, "e2"), "e2_norm"))
    x = ops.relu(conv(e2, "bottleneck"))
    x = norm(deconv(x, "d6"), "d6_norm")
    x = ops.relu(ops.concatenate([x, e2], axis=-1))
    x = norm(deconv(x, "d7"), "d7_norm")
    x = ops.relu(ops.concatenate([x, e1], axis=-1))
    return np.asarray((ops.tanh(deconv(x, "out")) + 1) / 2)


def test_wiring_equals_the_table_of_the_specification():
    network = _lively()
    x = _noise((2, 16, 24, 1))
    expected = _reference(network, x)
    assert expected.std() > 0.05
    assert np.asarray(network(x)) == pytest.approx(expected, abs=1e-5)


def test_zero_kernels_give_a_half_everywhere():
    network = _zeroed(models.Pix2PixGenerator(**TINY))
    assert np.all(np.asarray(network(_noise((1, 16, 8, 1)))) == 0.5)
    denoised = ct_keras.Denoiser(network)(np.full((7, 9), 33.0))
    assert np.all(denoised == 1024)


def test_initial_weights_are_those_of_the_paper_and_differ_between_layers():
    keras.utils.set_random_seed(0)
    network = models.Pix2PixGenerator(width=8)
    first, second = (np.asarray(network.get_layer(n).kernel) for n in ("e5", "e6"))
    assert first.std() == pytest.approx(0.02, rel=0.02)
    assert not np.array_equal(first, second)
    gamma, beta, *_ = network.get_layer("d2_norm").get_weights()
    assert gamma.mean() == pytest.approx(1, abs=0.01)
    assert gamma.std() == pytest.approx(0.02, rel=0.3)
    assert not beta.any()


def test_identity_start_is_exact_at_its_knots_and_close_in_soft_tissue():
    keras.utils.set_random_seed(1)
    network = models.Pix2PixGenerator(16, depth=3, initializer="identity")
    draw = np.random.default_rng(0)
    knots = draw.choice(TANH_KNOTS_HU, (1, 16, 24, 1)).astype(np.float32)
    tissue = draw.uniform(-160, 240, (1, 32, 16, 1)).astype(np.float32)
    assert hu.to_hu(network(hu.to_network(knots))) == pytest.approx(knots, abs=0.1)
    error = hu.to_hu(network(hu.to_network(tissue))) - tissue
    # Polygon minus curve: at most 1/8 of the longest stretch squared times the
    # largest second derivative of arctanh there, times that of tanh, in HU.
    v = 2 * hu.to_network(np.array([-160.0, 20.0, 240.0])) - 1
    stretch = 380 / 2048
    bend = np.abs(2 * v / (1 - v**2) ** 2).max()
    assert 1 < np.abs(error).max() < 2048 * stretch**2 / 8 * bend * (1 - v.max() ** 2)


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 9},
        {"depth": 2},
        {"norm": "layer"},
        {"initializer": "zeros"},
        {"initializer": "identity", "width": 15},
        {"initializer": "identity", "bias_before_norm": False},
    ],
)
def test_options_that_do_not_fit_are_refused(options):
    with pytest.raises(CtKerasError) as refusal:
        models.Pix2PixGenerator(**{"width": 16, "depth": 3} | options)
    assert refusal.value.code == "CTK-E000"


@pytest.mark.parametrize(
    ("receptive_field", "without", "with_bias"),
    [
        (1, 8_769, 8_897),
        (16, 135_489, 135_617),
        (34, 662_337, 662_721),
        (70, 2_764_609, 2_765_505),
        (142, 6_959_937, 6_961_345),
        (286, 11_155_265, 11_157_185),
    ],
)
def test_discriminators_have_their_parameters_and_receptive_field(
    receptive_field, without, with_bias
):
    import tensorflow as tf

    for bias, count in ((False, without), (True, with_bias)):
        network = models.PatchGAN(
            receptive_field=receptive_field, bias_before_norm=bias
        )
        assert _trainable(network) == count

    network = models.PatchGAN(1, receptive_field=receptive_field)
    # Positive weights keep every ReLU open, so that nothing hides a dependence.
    network.set_weights([np.full(w.shape, 0.1, np.float32) for w in network.weights])
    size = 2 * receptive_field + 30
    x = tf.Variable(np.ones((1, size, size, 1), np.float32))
    with tf.GradientTape() as tape:
        logits = network([tf.zeros_like(x), x])
        centre = logits[0, logits.shape[1] // 2, logits.shape[2] // 2, 0]
    seen = np.any(tape.gradient(centre, x).numpy()[0, :, :, 0] != 0, axis=1)
    assert seen.sum() == receptive_field


@pytest.mark.parametrize(("size", "maps"), [(256, 30), (512, 62), (64, 6), (24, 1)])
def test_map_sizes_of_the_70_pixel_discriminator(size, maps):
    image = _noise((1, size, size, 1))
    network = models.PatchGAN(1)
    assert [tensor.name for tensor in network.inputs] == ["low_dose", "candidate"]
    assert network([image, image]).shape == (1, maps, maps, 1)


def test_no_discriminator_of_another_receptive_field():
    with pytest.raises(CtKerasError) as refusal:
        models.PatchGAN(receptive_field=71)
    assert refusal.value.code == "CTK-E000"


def _linear_discriminator():
    """One logit a pixel, k * candidate + b, which starts at 0."""
    low_dose, candidate = (
        keras.Input((None, None, 1), name=n) for n in ("low_dose", "candidate")
    )
    logits = keras.layers.Conv2D(1, 1, kernel_initializer="zeros", name="patch_logits")(
        candidate
    )
    return keras.Model([low_dose, candidate], logits + 0 * low_dose)


def test_a_step_updates_the_discriminator_first_then_the_generator():
    """A generator of 0.5 everywhere, and plain gradient descent by hand."""
    low, full = _noise((2, 16, 16, 1), 1), _noise((2, 16, 16, 1), 2) ** 2
    system = models.Pix2Pix(
        _zeroed(models.Pix2PixGenerator(**TINY)),
        _linear_discriminator(),
        lambda_l1=7.0,
    )
    rate = 20.0
    system.compile(
        keras.optimizers.SGD(0.1),
        keras.optimizers.SGD(rate),
    )
    batch = tuple(keras.ops.convert_to_tensor(image) for image in (low, full))
    losses = {k: float(v) for k, v in system.train_step(batch).items()}
    assert losses["discriminator_loss"] == pytest.approx(LN2, abs=1e-6)
    # d loss / dk = 0.5 (mean(fake) - mean(real)) / 2; for b the two sides cancel.
    kernel = -rate * 0.25 * (0.5 - full.mean())
    adversarial = np.log1p(np.exp(-kernel * 0.5))
    assert abs(adversarial - LN2) > 0.1
    l1 = 2 * np.abs(full - 0.5).mean()
    assert losses["adversarial_loss"] == pytest.approx(adversarial, rel=1e-4)
    assert losses["l1_loss"] == pytest.approx(l1, rel=1e-5)
    assert losses["loss"] == pytest.approx(adversarial + 7 * l1, rel=1e-4)
    # Of the generator only the last bias gets a gradient: du/db = 1/2 at tanh(0).
    pull = 7 * 2 * np.sign(0.5 - full).mean() - kernel / (1 + np.exp(kernel * 0.5))
    bias = float(np.asarray(system.network.get_layer("out").bias)[0])
    assert bias == pytest.approx(-0.1 * pull / 2, rel=1e-4)
    assert int(system.optimizer.iterations) == 1
    assert int(system.opponent_optimizer.iterations) == 1


def test_steps_count_one_update_each_and_metrics_are_means():
    keras.utils.set_random_seed(0)
    recipe = _tiny_recipe()
    system = make_system(recipe)
    low, full = _noise((6, 32, 32, 1), 1), _noise((6, 32, 32, 1), 2)
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((low, full)).batch(2)
    history = system.fit(data, epochs=2, verbose=0).history
    assert int(system.optimizer.iterations) == 6
    assert int(system.opponent_optimizer.iterations) == 6
    assert set(history) == {
        *("loss", "adversarial_loss", "l1_loss", "discriminator_loss")
    }
    for epoch in range(2):
        total = history["adversarial_loss"][epoch] + 3 * history["l1_loss"][epoch]
        assert history["loss"][epoch] == pytest.approx(total, rel=1e-5)


def _tiny_recipe() -> Recipe:
    return Recipe(
        name="tiny",
        description="",
        patch_size=32,
        batch_size=2,
        epochs=1,
        steps_per_epoch=1,
        learning_rate=1e-3,
        betas=(0.5, 0.999),
        options=TINY,
        training={"lambda_l1": 3.0, "receptive_field": 16, "discriminator_width": 2},
    )


def test_recipes():
    recipes = {recipe.name: recipe for recipe in SPEC.recipes}
    weights = {name: recipe.training["lambda_l1"] for name, recipe in recipes.items()}
    assert weights == {"report": 1.0, "paper": 100.0, "quick": 100.0}
    for name, size in (("report", 512), ("paper", 256)):
        recipe = recipes[name]
        assert (recipe.patch_size, recipe.batch_size) == (size, 1)
        assert (recipe.learning_rate, *recipe.betas) == (2e-4, 0.5, 0.999)
        assert recipe.training["receptive_field"] == 70
    assert (recipes["report"].epochs, recipes["paper"].epochs) == (30, 200)


def test_inference_is_deterministic_and_training_mode_is_the_original():
    keras.utils.set_random_seed(0)
    network = models.Pix2PixGenerator(width=4, depth=3)
    x = _noise((1, 32, 32, 1))
    before = [np.asarray(weight) for weight in network.weights]
    first, second = np.asarray(network(x)), np.asarray(network(x))
    assert np.array_equal(first, second)
    after = [np.asarray(weight) for weight in network.weights]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    drawn = [np.asarray(network(x, training=True)) for _ in range(2)]
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], first)


@pytest.mark.parametrize(
    ("shape", "mode"), [((3, 4), "edge"), ((7, 9), "reflect"), ((33, 57), "reflect")]
)
def test_any_size_by_padding_inside_the_deployable_model(shape, mode, tmp_path):
    network = _lively()
    denoiser = ct_keras.Denoiser(network)
    x = np.random.default_rng(3).normal(0, 200, shape).astype(np.float32)
    denoised = denoiser(x)
    assert np.array_equal(denoised, denoiser(x))
    rows, columns = shape
    # Three levels halve the image three times.
    padded = np.pad(x, ((0, -rows % 8), (0, -columns % 8)), mode)
    u = np.asarray(network(hu.to_network(padded)[None, ..., None]))
    expected = hu.to_hu(u[0, :rows, :columns, 0])
    assert expected.std() > 50
    assert denoised == pytest.approx(expected, abs=2e-3)
    denoiser.model.save(tmp_path / "net.keras")
    assert np.array_equal(ct_keras.load(tmp_path / "net.keras")(x), denoised)


def _train(records, out, **options):
    return train(
        "pix2pix",
        records,
        out=out,
        recipe="quick",
        options={"width": 2, "depth": 3, "initializer": "gaussian"},
        validation_slices=1,
        epochs=3,
        steps=2,
        seed=5,
        **options,
    )


class _Killed(BaseException):
    """What a kill is to a test."""


class _DiesInTheSecondEpoch(ct_keras.Denoiser):
    """Ends the run between the second epoch's training and its checkpoint."""

    calls = 0

    def __call__(self, hu_in, **options):
        _DiesInTheSecondEpoch.calls += 1
        if _DiesInTheSecondEpoch.calls == 3:  # one slice and one picture an epoch
            raise _Killed
        return super().__call__(hu_in, **options)


def test_killed_and_resumed_run_equals_the_undisturbed_bit_for_bit(
    phantom_records, tmp_path, monkeypatch
):
    _train(phantom_records, tmp_path / "undisturbed")
    with monkeypatch.context() as patched, pytest.raises(_Killed):
        patched.setattr(trainer, "Denoiser", _DiesInTheSecondEpoch)
        _train(phantom_records, tmp_path / "killed")
    kept = [path.name for path in (tmp_path / "killed" / "checkpoints").iterdir()]
    assert kept == ["ckpt-00001"]
    assert _train(phantom_records, tmp_path / "killed", resume=True).finished

    assert same_run(tmp_path / "undisturbed", tmp_path / "killed")
    arrays = arrays_of(tmp_path / "killed")
    # What was compared holds all that a step depends on.
    for optimizer in ("optimizer", "opponent_optimizer"):
        own = [name for name in arrays if name.startswith(f"{optimizer}/")]
        assert sum(arrays[name].any() for name in own if "momentum" in name) > 10
        iterations = next(name for name in own if "iteration" in name)
        assert arrays[iterations] == 6
    for part, least in (("moving_mean", 2), ("moving_variance", 2), ("seed", 2)):
        assert sum(part in name for name in arrays) >= least
