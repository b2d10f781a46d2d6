"""WGAN-VGG: its networks, its training step replayed by hand, its runs."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from run_arrays import arrays_of, same_run

import ct_keras
from ct_keras import models
from ct_keras.errors import CtKerasError
from ct_keras.models.wgan_vgg import SPEC
from ct_keras.training import train, trainer
from ct_keras.training.checkpoints import training_variables


def _noise(shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def _pairs(batches=3, batch_size=2, patch_size=32):
    shape = (batches * batch_size, patch_size, patch_size, 1)
    full = 0.2 + 0.1 * _noise(shape, 1)
    low = full + 0.01 * _noise(shape, 2)
    return (
        low,
        full,
        tf.data.Dataset.from_tensor_slices((low, full)).batch(
            batch_size, drop_remainder=True
        ),
    )


def _small(patch_size=32, **options):
    keras.utils.set_random_seed(3)
    return models.WganVgg(
        models.WganVggGenerator(width=2, initializer="identity"),
        models.WganVggCritic(width=2, patch_size=patch_size),
        seed=7,
        **options,
    )


def _sgd():
    return {
        "optimizer": keras.optimizers.SGD(0.05),
        "opponent_optimizer": keras.optimizers.SGD(0.02),
    }


# Networks


def test_parameter_counts_of_the_generator():
    assert models.WganVggGenerator(width=32).count_params() == 56_097
    assert models.WganVggGenerator(width=32, use_bias=False).count_params() == 55_872


@pytest.mark.parametrize(
    ("patch_size", "padding", "count"),
    [
        (80, "same", 27_360_705),
        (80, "valid", 13_991_361),
        (64, "same", 17_923_521),
        (64, "valid", 7_699_905),
    ],
)
def test_parameter_counts_of_the_critic(patch_size, padding, count):
    critic = models.WganVggCritic(patch_size=patch_size, padding=padding)
    assert critic.count_params() == count


def test_receptive_field_is_17():
    network = models.WganVggGenerator(width=2)
    network.set_weights([np.full(w.shape, 0.1, np.float32) for w in network.weights])
    x = tf.Variable(np.ones((1, 31, 31, 1), np.float32))
    with tf.GradientTape() as tape:
        centre = network(x)[0, 15, 15, 0]
    seen = tape.gradient(centre, x).numpy()[0, :, :, 0] != 0
    assert (seen.any(0).sum(), seen.any(1).sum()) == (17, 17)
    assert (SPEC.receptive_field, models.halo_of(network)) == (17, 8)


def test_generator_is_eight_convolutions_each_with_a_relu():
    network = models.WganVggGenerator(width=3)
    network.set_weights(
        [0.6 * _noise(w.shape, i) - 0.22 for i, w in enumerate(network.weights)]
    )
    x = expected = _noise((2, 20, 23, 1))
    for index in range(1, 9):
        kernel, bias = network.get_layer(f"conv{index}").get_weights()
        expected = keras.ops.conv(expected, kernel, padding="same") + bias
        expected = keras.ops.relu(expected)
    assert np.asarray(expected).std() > 0.01
    assert np.asarray(network(x)) == pytest.approx(np.asarray(expected), rel=1e-4)


def test_valid_generator_is_the_centre_of_the_same_one():
    same = models.WganVggGenerator(width=3)
    valid = models.WganVggGenerator(width=3, padding="valid")
    valid.set_weights(same.get_weights())
    x = _noise((1, 30, 40, 1))
    assert valid(x).shape == (1, 14, 24, 1)
    centre = np.asarray(same(x))[:, 8:-8, 8:-8]
    assert np.asarray(valid(x)) == pytest.approx(centre, abs=1e-6)
    assert centre.std() > 1e-4


@pytest.mark.parametrize("use_bias", [True, False])
def test_identity_start_returns_the_input(use_bias):
    x = _noise((1, 24, 30, 1))
    network = models.WganVggGenerator(4, initializer="identity", use_bias=use_bias)
    assert np.array_equal(np.asarray(network(x)), x)


def test_identity_start_feels_differences_in_every_layer_but_not_the_mean():
    keras.utils.set_random_seed(0)
    network = models.WganVggGenerator(8, initializer="identity")
    features = keras.Model(network.input, network.get_layer("conv7_relu").output)
    flat = np.asarray(features(np.full((1, 40, 40, 1), 0.25)))[0, 16:24, 16:24, 1:]
    noisy = 0.25 + 0.01 * _noise((1, 40, 40, 1))
    assert np.abs(flat).max() < 1e-5
    assert np.asarray(features(noisy))[0, 16:24, 16:24, 1:].std() > 1e-3


def test_critic_by_hand():
    critic = models.WganVggCritic(width=2, patch_size=17)
    critic.set_weights(
        [0.5 * _noise(w.shape, i) - 0.25 for i, w in enumerate(critic.weights)]
    )
    x = expected = _noise((3, 17, 17, 1))
    for index in range(1, 7):
        kernel, bias = critic.get_layer(f"c{index}").get_weights()
        stride = 2 - index % 2
        expected = keras.ops.conv(expected, kernel, stride, "same") + bias
        expected = np.where(expected > 0, expected, 0.2 * np.asarray(expected))
    kernel, bias = critic.get_layer("fc1").get_weights()
    expected = expected.reshape(3, -1) @ kernel + bias
    expected = np.where(expected > 0, expected, 0.2 * expected)
    kernel, bias = critic.get_layer("score").get_weights()
    assert kernel.shape == (32, 1)
    expected = expected @ kernel + bias
    assert np.asarray(critic(x)) == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert (critic.input.name, critic.layers[-1].name) == ("image", "score")


def test_critic_of_differences_gives_flat_images_no_score_in_the_middle():
    critic = models.WganVggCritic(
        width=2, patch_size=64, padding="valid", initializer="differences"
    )
    flat, noisy = np.full((1, 64, 64, 1), 0.25), _noise((1, 64, 64, 1))
    assert abs(float(critic(flat)[0, 0])) < 1e-5
    assert abs(float(critic(noisy)[0, 0])) > 1e-3


def test_critic_is_float32_under_mixed_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        gan = _small()
        gan.compile(critic_steps=1, perceptual_weight=0, **_sgd())
    finally:
        keras.config.set_dtype_policy(policy)
    assert {layer.compute_dtype for layer in gan.opponent.layers[1:]} == {"float32"}
    assert gan.network.get_layer("conv2").compute_dtype == "bfloat16"
    history = gan.fit(_pairs(batches=2)[2], verbose=0).history
    assert np.isfinite(history["gradient_norm_penalty"]).all()


# The training step


def _replayed(gan, low, full, settings):
    """One step of the algorithm box on the networks of `gan`, with plain SGD."""
    mixes = keras.random.SeedGenerator(7)
    steps = settings["critic_steps"]
    edge = 8 if settings["padding"] == "valid" else 0
    low, full = np.split(low, steps + 1), np.split(full, steps + 1)

    def centre(image):
        return image[:, edge : 32 - edge, edge : 32 - edge]

    for t in range(steps):
        real, fake = centre(full[t]), centre(gan.network(low[t]))
        mix = keras.random.uniform((2, 1, 1, 1), seed=mixes)
        between = tf.Variable(mix * real + (1 - mix) * fake)
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                between_scores = gan.opponent(between)
            gradient = tf.reshape(inner.gradient(between_scores, between), (2, -1))
            penalty = tf.reduce_mean((tf.norm(gradient, axis=1) - 1) ** 2)
            loss = tf.reduce_mean(gan.opponent(fake)) - tf.reduce_mean(
                gan.opponent(real)
            )
            if settings["constraint"] == "penalty":
                loss += settings["gradient_penalty"] * penalty
        weights = gan.opponent.trainable_variables
        for weight, slope in zip(weights, outer.gradient(loss, weights), strict=True):
            weight.assign(weight - 0.02 * slope)
            if settings["constraint"] == "clip":
                weight.assign(tf.clip_by_value(weight, -0.05, 0.05))
    with tf.GradientTape() as tape:
        fake = centre(gan.network(low[-1]))
        difference = fake - centre(full[-1])
        loss = -tf.reduce_mean(gan.opponent(fake))
        # The extractor of the test doubles the image.
        loss += settings["perceptual_weight"] * tf.reduce_mean((2 * difference) ** 2)
        loss += settings["pixel_weight"] * tf.reduce_mean(difference**2)
    weights = gan.network.trainable_variables
    for weight, slope in zip(weights, tape.gradient(loss, weights), strict=True):
        weight.assign(weight - 0.05 * slope)


@pytest.mark.parametrize(
    ("padding", "constraint"),
    [("same", "penalty"), ("valid", "penalty"), ("same", "clip")],
)
def test_one_step_is_that_of_the_algorithm_box(padding, constraint):
    settings = {
        "critic_steps": 2,
        "constraint": constraint,
        "gradient_penalty": 3.0,
        "perceptual_weight": 2.0,
        "pixel_weight": 5.0,
    }
    image = keras.Input((None, None, 1))
    doubling = keras.Model(image, keras.layers.Rescaling(2.0)(image))
    size = {"same": 32, "valid": 16}[padding]
    gan, by_hand = _small(size, padding=padding), _small(size, padding=padding)
    before = gan.network.get_weights() + gan.opponent.get_weights()
    gan.compile(**_sgd(), **settings, feature_extractor=doubling, clip_value=0.05)
    low, full, dataset = _pairs(batches=3)
    gan.fit(dataset, verbose=0)
    _replayed(by_hand, low, full, settings | {"padding": padding})
    after = gan.network.get_weights() + gan.opponent.get_weights()
    expected = by_hand.network.get_weights() + by_hand.opponent.get_weights()
    for old, new, wanted in zip(before, after, expected, strict=True):
        # What changed, not the values, must agree.
        assert new - old == pytest.approx(wanted - old, rel=2e-3, abs=2e-6)
    assert any(np.abs(n - o).max() > 1e-4 for o, n in zip(before, after, strict=True))


def test_four_updates_of_the_critic_for_one_of_the_generator():
    gan = _small()
    gan.compile(perceptual_weight=0)
    gan.fit(_pairs(batches=17)[2], verbose=0)
    assert int(gan.optimizer.iterations) == 3
    assert int(gan.opponent_optimizer.iterations) == 12


def test_every_point_of_the_penalty_is_drawn_anew():
    gan = _small()
    gan.compile(perceptual_weight=0, critic_steps=2)
    state = np.asarray(gan.seed_generator.state).copy()
    gan.fit(_pairs(batches=3)[2], verbose=0)
    assert np.asarray(gan.seed_generator.state).tolist() == [state[0], state[1] + 2]


def test_clipped_critic_stays_within_bounds():
    gan = _small()
    gan.compile(perceptual_weight=0, critic_steps=1, constraint="clip")
    history = gan.fit(_pairs(batches=2)[2], verbose=0).history
    weights = gan.opponent.get_weights()
    assert max(np.abs(w).max() for w in weights) == pytest.approx(0.01)
    assert history["gradient_norm_penalty"] == [0]


def test_gan_of_a_user_with_few_lines(phantom_records):
    patches = ct_keras.data.training_patches(
        phantom_records, patch_size=32, batch_size=2, steps=4
    )
    critic = models.WganVggCritic(width=2, patch_size=32)
    gan = models.WganVgg(models.WganVggGenerator(width=2), critic)
    gan.compile("adam", "adam", feature_extractor="filter_bank", critic_steps=1)
    history = gan.fit(patches, epochs=2, verbose=0).history
    assert {"loss", "critic_loss", "wasserstein", "perceptual", "mse"} < set(history)
    assert len(history["loss"]) == 2
    assert int(gan.optimizer.iterations) == 4
    assert ct_keras.Denoiser(gan.network)(np.zeros((9, 11))).shape == (9, 11)


def test_defaults_are_those_of_the_paper(monkeypatch):
    gan = models.WganVgg()
    assert gan.network.count_params() == 56_097
    assert gan.opponent.count_params() == 27_360_705
    gan.compile(perceptual_weight=0)
    for optimizer in (gan.optimizer, gan.opponent_optimizer):
        config = optimizer.get_config()
        values = [config[key] for key in ("learning_rate", "beta_1", "beta_2")]
        assert values == pytest.approx([1e-5, 0.5, 0.9])

    def no_connection(**options):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.applications, "VGG19", no_connection)
    with pytest.raises(CtKerasError) as refusal:
        gan.compile()
    assert refusal.value.code == "CTK-E005"
    assert "perceptual_weight=0" in str(refusal.value)
    with pytest.raises(CtKerasError) as refusal:
        SPEC.make_system(SPEC.recipe("report"))
    assert refusal.value.code == "CTK-E005"


@pytest.mark.parametrize(
    "settings",
    [
        {"constraint": "none"},
        {"critic_steps": 0},
        dict.fromkeys(("optimizer", "opponent_optimizer"), keras.optimizers.SGD()),
    ],
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(CtKerasError) as refusal:
        _small().compile(perceptual_weight=0, **settings)
    assert refusal.value.code == "CTK-E000"


def test_patches_of_another_size_are_refused():
    gan = _small(16, padding="valid")
    gan.compile(perceptual_weight=0)
    with pytest.raises(CtKerasError) as refusal:
        gan.fit(_pairs(patch_size=24)[2])
    assert refusal.value.code == "CTK-E086"
    assert "received: 24x24; expected: 32x32" in str(refusal.value)


# Runs


def test_checkpoint_holds_both_optimisers_and_the_seed_but_no_extractor():
    gan = _small()
    gan.compile(feature_extractor="filter_bank")
    names = list(training_variables(gan))
    weights = len(gan.network.weights) + len(gan.opponent.weights)
    moments = 2 * (weights + 2)  # two of Adam's for each, its counter and its rate
    assert len(names) == weights + 1 + moments
    assert sum("seed_generator_state" in name for name in names) == 1
    assert not [name for name in names if "bank" in name or "level1" in name]


def _train(records, out, **options):
    settings = {"epochs": 3, "steps": 2, "seed": 5, "validation_slices": 2}
    return train(
        "wgan_vgg",
        records,
        out=out,
        recipe="quick",
        options={"width": 2},
        **settings | options,
    )


def test_killed_in_the_middle_and_resumed_ends_alike(
    phantom_records, tmp_path, monkeypatch
):
    quick = SPEC.recipe("quick")
    short = replace(quick, training=quick.training | {"critic_steps": 2})

    def eager_system(recipe):  # no graph to trace, three times
        system = SPEC.make_system(recipe)
        system.run_eagerly = True
        return system

    spec = replace(SPEC, recipes=(short,), make_system=eager_system)
    monkeypatch.setitem(models._SPECS, "wgan_vgg", spec)

    class Dies(ct_keras.Denoiser):
        """Ends the process, as it were, in the validation of the second epoch."""

        calls = 0

        def __call__(self, hu_in, **options):
            Dies.calls += 1
            if Dies.calls > 4:  # two validation slices, two pictures
                raise KeyboardInterrupt
            return super().__call__(hu_in, **options)

    _train(phantom_records, tmp_path / "undisturbed")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(trainer, "Denoiser", Dies)
        _train(phantom_records, tmp_path / "killed")
    newest = sorted((tmp_path / "killed" / "checkpoints").iterdir())[-1]
    assert newest.name == "ckpt-00001"
    keras.utils.set_random_seed(99)
    _train(phantom_records, tmp_path / "killed", resume=True)
    assert same_run(tmp_path / "undisturbed", tmp_path / "killed")
    arrays = arrays_of(tmp_path / "killed")
    counters = {k.split("/")[0]: int(v) for k, v in arrays.items() if "iterat" in k}
    assert counters == {"opponent_optimizer": 12, "optimizer": 6}
