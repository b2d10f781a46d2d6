"""ADL: counts of the published networks, wiring, losses, phases and resumed runs."""

import shutil
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest

from ct_keras import hu, models
from ct_keras.errors import CtKerasError
from ct_keras.losses import histogram_loss, pyramidal_textural_loss
from ct_keras.models import (
    Adl,
    Adl3dDenoiser,
    AdlDenoiser,
    AdlDiscriminator,
    AdlSettings,
    adl,
    get_spec,
    identity_start,
)
from ct_keras.models.adl_training import PhasedRate
from ct_keras.training import train
from ct_keras.training.checkpoints import training_variables

QUICK = adl.SPEC.recipe("quick")
UNITS = {
    "ce": 685_008,
    "encoder1": 84_288,
    "encoder2": 270_848,
    "encoder3": 435_840,
    "bridge": 639_744,
    "decoder1": 1_019_520,
    "decoder2": 659_968,
    "decoder3": 470_400,
    "t1": 67_056,
    "t2": 148_896,
    "t3": 244_180,
}


def _noise(shape, seed=0, low=0.0, high=1.0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def _trainable(layers) -> int:
    return sum(
        int(np.prod(weight.shape))
        for layer in layers
        for weight in layer.trainable_variables
    )


def test_published_numbers_of_parameters_unit_by_unit():
    network = AdlDenoiser(width=96, all_scales=True)
    counts = {
        unit: _trainable(
            layer for layer in network.layers if layer.name.split("_")[0] == unit
        )
        for unit in UNITS
    }
    assert counts == UNITS
    assert _trainable(network.layers) == 4_725_748
    assert network.count_params() == 4_731_204
    assert models.count_macs(network) / 1e9 == pytest.approx(409, abs=0.5)


@pytest.mark.parametrize(
    ("network", "trainable", "total"),
    [
        (
            lambda: AdlDenoiser(all_scales=True, enhancer="figure"),
            4_133_572,
            4_138_932,
        ),
        (AdlDenoiser, 4_725_748 - UNITS["t2"] - UNITS["t3"], None),
        (AdlDiscriminator, 988_753, 991_241),
        (lambda: Adl3dDenoiser(all_scales=True), 12_013_540, None),
        (
            lambda: Adl3dDenoiser(all_scales=True, enhancer="code"),
            16_489_972,
            None,
        ),
        (lambda: AdlDiscriminator(dimensions=3), 2_862_121, 2_864_609),
    ],
)
def test_numbers_of_parameters(network, trainable, total):
    network = network()
    assert _trainable(network.layers) == trainable
    assert total is None or network.count_params() == total


def test_filters_follow_the_width_or_are_given():
    def maps(network):
        names = ("encoder1", "encoder2", "encoder3", "bridge")
        return [network.get_layer(f"{name}_conv1").filters for name in names]

    assert maps(AdlDiscriminator(width=12)) == [12, 16, 20, 24]
    assert maps(AdlDenoiser(filters=(3, 5, 7, 9), all_scales=True)) == [3, 5, 7, 9]
    for options in ({"filters": (3, 5)}, {"dimensions": 4}, {"enhancer": "none"}):
        with pytest.raises(CtKerasError) as refusal:
            AdlDenoiser(**options)
        assert refusal.value.code == "CTK-E000"


@pytest.mark.parametrize(
    ("builder", "shape"), [(AdlDenoiser, (32, 40)), (Adl3dDenoiser, (16, 24, 32))]
)
def test_zero_kernels_give_one_half_at_three_scales(builder, shape):
    network = builder(width=4, all_scales=True)
    network.set_weights([np.zeros(w.shape) for w in network.weights])
    outputs = network(_noise((1, *shape, 1)))
    for factor, output in zip((1, 2, 4), outputs, strict=True):
        assert output.shape == (1, *[side // factor for side in shape], 1)
        assert np.all(np.asarray(output) == 0.5)


def test_discriminator_judges_at_four_scales():
    keras.utils.set_random_seed(0)
    maps = AdlDiscriminator(width=4)(_noise((1, 32, 40, 1)))
    assert [tuple(logits.shape[1:3]) for logits in maps] == [
        (32, 40),
        (16, 20),
        (8, 10),
        (4, 5),
    ]
    assert min(float(np.asarray(logits).std()) for logits in maps) > 0


def test_no_convolution_of_one_pixel_has_a_stride():
    for network in (AdlDenoiser(width=4), Adl3dDenoiser(width=4)):
        for layer in network.layers:
            if hasattr(layer, "strides") and max(layer.strides) > 1:
                pooling = "sample" in layer.name
                assert max(getattr(layer, "kernel_size", (1,))) == (1 if pooling else 3)


def _reference(network, x):
    """The tables of the specification, with strided 1x1 convolutions as such."""
    ops = keras.ops

    def conv(x, name, stride=1, dilation=1):
        kernel = network.get_layer(name).kernel
        return ops.conv(
            x, kernel, strides=stride, padding="same", dilation_rate=dilation
        )

    def norm(x, name):
        gamma, beta, mean, variance = network.get_layer(name).get_weights()
        return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    def block(x, name, stride=1):
        y = ops.relu(norm(conv(x, f"{name}_conv1", stride), f"{name}_bn1"))
        y = norm(conv(y, f"{name}_conv2"), f"{name}_bn2")
        return ops.relu(y + conv(x, f"{name}_shortcut", stride))

    def up(x, name, *skip):
        kernel = network.get_layer(f"{name}_up").kernel
        y = ops.conv_transpose(x, kernel, strides=2, padding="same")
        return block(ops.concatenate([y, *skip], axis=-1), name)

    def transformer(x, level):
        for index in range(level):
            x = block(x, f"t{level}_block{index + 1}")
        return ops.sigmoid(conv(x, f"t{level}_conv"))

    x = ops.convert_to_tensor(x)
    branches = [conv(x, f"ce_conv_d{rate}", 1, rate) for rate in (1, 2, 4)]
    ce = ops.relu(norm(ops.concatenate(branches, axis=-1), "ce_bn1"))
    ce = norm(conv(ce, "ce_conv2"), "ce_bn2") + conv(x, "ce_shortcut")
    ce = ops.maximum(ce, 0.1 * ce)
    e1 = block(x, "encoder1")
    e2 = block(e1, "encoder2", 2)
    e3 = block(e2, "encoder3", 2)
    d1 = up(block(e3, "bridge", 2), "decoder1", e3)
    d2 = up(d1, "decoder2", e2)
    d3 = up(d2, "decoder3", e1, ce)
    return [transformer(d3, 1), transformer(d2, 2), transformer(d1, 3)]


def test_wiring_equals_the_tables():
    keras.utils.set_random_seed(0)
    network = AdlDenoiser(width=16, all_scales=True)
    # Statistics and shifts that are not those of a start, so that each one matters.
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shapes = [w.shape for w in layer.weights]
            layer.set_weights([_noise(s, i, 0.5, 1.5) for i, s in enumerate(shapes)])
    x = _noise((2, 32, 40, 1))
    for ours, theirs in zip(network(x), _reference(network, x), strict=True):
        assert np.asarray(theirs).std() > 1e-3
        assert np.asarray(ours) == pytest.approx(np.asarray(theirs), abs=1e-5)


def test_receptive_field_is_46_pixels_either_side():
    import tensorflow as tf

    network = AdlDenoiser(width=1)
    # Averages keep every ReLU open and every path in float32's range.
    for weight in network.weights:
        value = 1.0
        if weight.name == "kernel":
            value = 1 / np.prod(weight.shape[:-1])
        elif weight.name in ("beta", "moving_mean"):
            value = 0.0
        weight.assign(np.full(weight.shape, value))
    x = tf.Variable(np.ones((8, 120, 120, 1), np.float32))
    rows = np.arange(56, 64)  # one for each place modulo 8
    with tf.GradientTape() as tape:
        outputs = network(x)
        total = sum(outputs[index, row, row, 0] for index, row in enumerate(rows))
    seen = np.any(tape.gradient(total, x).numpy()[..., 0] != 0, axis=2)
    before = [row - np.argmax(seen[i]) for i, row in enumerate(rows)]
    after = [119 - np.argmax(seen[i][::-1]) - row for i, row in enumerate(rows)]
    assert max(before + after) == 46
    assert adl.SPEC.receptive_field == 2 * 46 + 1
    assert models.halo_of(network) == 46


def test_hinges_undo_the_sigmoid():
    units = np.linspace(0.006, 0.75, 2000)
    slopes, shifts, weights, constant = identity_start.logit_hinges(10)
    hinges = np.maximum(0, slopes * units[:, None] + shifts)
    error_hu = 4096 * (1 / (1 + np.exp(-constant - hinges @ weights)) - units)
    tissue = np.abs(units - hu.to_network(np.float32(40))) < 200 / 4096
    assert np.sqrt(np.mean(error_hu[tissue] ** 2)) < 0.7
    assert np.abs(error_hu).max() < 20


@pytest.mark.parametrize(
    ("builder", "shape"), [(AdlDenoiser, (64, 48)), (Adl3dDenoiser, (8, 24, 16))]
)
def test_identity_start_returns_nearly_the_input(builder, shape):
    network = builder(width=16, all_scales=True, initializer="identity")
    steps = tuple(slice(None, None, factor) for factor in (1, 2, 4))
    x = hu.to_network(_noise((1, *shape, 1), 0, -200, 300))
    for step, output in zip(steps, network(x), strict=True):
        sampled = x[(slice(None), *[step] * len(shape))]
        error_hu = 4096 * (np.asarray(output) - sampled)
        assert np.sqrt(np.mean(error_hu**2)) < 1
    lung_hu = _noise((1, *shape, 1), 0, -1000, -500)
    output_hu = hu.to_hu(np.asarray(network(hu.to_network(lung_hu))[0]))
    assert np.abs(output_hu - lung_hu).max() < 20


def test_identity_start_with_few_channels_is_coarser():
    x_hu = _noise((1, 32, 32, 1), 0, -160, 240)
    network = AdlDenoiser(width=4, initializer="identity")
    error_hu = hu.to_hu(np.asarray(network(hu.to_network(x_hu)))) - x_hu
    assert 1 < np.sqrt(np.mean(error_hu**2)) < 6


def _small_networks():
    """A denoiser of three scales and a discriminator, with few layers.

    The algorithm takes any networks with these outputs, and these are quickly called.
    """
    layers = keras.layers

    def three_scales(x, activation):
        maps = layers.Conv2D(3, 3, padding="same", name="maps")(x)
        maps = layers.BatchNormalization(name="bn")(maps)
        outputs = []
        for factor in (1, 2, 4):
            pooled = layers.AveragePooling2D(factor, name=f"pooled{factor}")(maps)
            options = {"activation": activation, "name": f"scale{factor}"}
            outputs.append(layers.Conv2D(1, 3, padding="same", **options)(pooled))
        return outputs

    image = keras.Input((None, None, 1))
    denoiser = keras.Model(image, three_scales(image, "sigmoid"))
    return denoiser, keras.Model(image, three_scales(image, None))


def _published_networks(dimensions=2):
    builder = {2: AdlDenoiser, 3: Adl3dDenoiser}[dimensions]
    discriminator = AdlDiscriminator(width=3, dimensions=dimensions)
    return builder(width=3, all_scales=True), discriminator


def _system(networks=_small_networks, **settings):
    keras.utils.set_random_seed(0)
    system = Adl(*networks(), epochs=3, settings=AdlSettings(**settings))
    system.compile(
        keras.optimizers.Adam(1e-3),
        keras.optimizers.Adam(1e-3),
    )
    return system


def _batch(shape=(2, 40, 40, 1)):
    full = _noise(shape, 1, 0.2, 0.4)
    return full + _noise(shape, 2, -0.02, 0.02), full


def _values(model):
    return [np.asarray(variable) for variable in model.variables]


def _changed(before, after) -> bool:
    return any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_each_phase_trains_what_it_should(dimensions):
    batch = _batch({2: (2, 40, 40, 1), 3: (1, 16, 16, 16, 1)}[dimensions])
    system = _system(partial(_published_networks, dimensions))
    changed = {}
    for epoch in range(3):
        system.begin_epoch(epoch)
        before = _values(system.denoiser), _values(system.opponent)
        logs = system.train_step(batch)
        after = _values(system.denoiser), _values(system.opponent)
        # Moving statistics count too: a frozen denoiser is frozen.
        changed[system.phase] = tuple(map(_changed, before, after))
        assert list(logs) == [mean.name for mean in system.metrics]
        assert float(logs["loss"]) > 0
    assert changed == {
        "denoiser": (True, False),
        "discriminator": (False, True),
        "joint": (True, True),
    }
    assert int(system.optimizer.iterations) == 2
    assert int(system.opponent_optimizer.iterations) == 2


def test_fit_compiles_each_phase_anew():
    import tensorflow as tf

    system = _system()
    data = tf.data.Dataset.from_tensors(_batch())
    history = system.fit(data, epochs=2, verbose=0, shuffle=False).history
    assert set(history) == {mean.name for mean in system.metrics}
    assert history["discriminator_loss"][0] == 0 < history["discriminator_loss"][1]
    assert int(system.optimizer.iterations) == 1
    assert int(system.opponent_optimizer.iterations) == 1


@pytest.mark.parametrize("term", [None, "l1", "pyramid", "histogram", "adv"])
def test_every_weighted_term_moves_weights(term):
    names = ("l1", "pyramid", "histogram", "adv")
    system = _system(**{f"lambda_{name}": float(name == term) for name in names})
    system.begin_epoch(2 if term in (None, "adv") else 0)
    before = [np.asarray(v) for v in system.denoiser.trainable_variables]
    system.train_step(_batch())
    after = [np.asarray(v) for v in system.denoiser.trainable_variables]
    assert _changed(before, after) == (term is not None)


def test_loss_is_the_weighted_sum_over_scales_and_terms():
    low_dose, full_dose = _batch()
    system = _system(
        lambda_l1=0.5, lambda_pyramid=2.0, lambda_histogram=3.0, lambda_adv=0.25
    )
    system.begin_epoch(2)
    outputs = [np.asarray(y) for y in system.denoiser(low_dose, training=True)]
    logs = {name: float(v) for name, v in system.train_step(_batch()).items()}
    terms = np.zeros(3)
    for factor, output in zip((1, 2, 4), outputs, strict=True):
        side = 40 // factor
        blocks = full_dose.reshape(2, side, factor, side, factor, 1)
        reference = blocks.mean((2, 4))
        pair = {"reference": reference, "prediction": output}
        terms += [
            np.mean(np.abs(output - reference)),
            float(pyramidal_textural_loss(**pair)),
            float(histogram_loss(**pair)),
        ]
    measured = [logs[f"{name}_loss"] for name in ("l1", "pyramid", "histogram")]
    assert measured == pytest.approx(terms, rel=1e-3)
    expected = np.dot([0.5, 2, 3], terms) + 0.25 * logs["adversarial_loss"]
    assert logs["loss"] == pytest.approx(expected, rel=1e-3)
    averaged = _system(average_scales=True)
    losses = averaged.image_losses(reference=full_dose, outputs=outputs)
    assert [float(loss) for loss in losses] == pytest.approx(terms / 3, rel=1e-3)


@pytest.mark.parametrize(
    ("adversarial", "discriminator", "deception"),
    [("cross_entropy", 2 * np.log(2), np.log(2)), ("hinge", 2.0, 0.0)],
)
def test_a_discriminator_that_cannot_tell(adversarial, discriminator, deception):
    system = _system(adversarial=adversarial, phases=(0, 0, 1))
    # The denoiser is judged by the discriminator after its update, so there is none.
    system.opponent_optimizer.learning_rate = 0.0
    system.opponent.set_weights([np.zeros(w.shape) for w in system.opponent.weights])
    system.begin_epoch(0)
    logs = system.train_step(_batch())
    assert float(logs["discriminator_loss"]) == pytest.approx(discriminator)
    assert float(logs["adversarial_loss"]) == pytest.approx(deception)


def test_the_report_trains_the_loop_of_the_post():
    """Every epoch trains both; the denoiser by -log D(G(y)) beside its image losses."""
    recipe = get_spec("adl").recipe("report")
    settings = AdlSettings.from_plain(recipe.training)
    assert {settings.phase(epoch, 100) for epoch in range(100)} == {"joint"}
    system = _system(**recipe.training | {"lambda_adv": 0.5})
    low_dose, full_dose = _batch()
    system.opponent_optimizer.learning_rate = 0.0
    system.begin_epoch(0)
    outputs = system.denoiser(low_dose, training=True)
    maps = system.opponent(outputs[0], training=True)
    expected = np.mean([np.mean(np.logaddexp(0, -np.asarray(each))) for each in maps])
    system = _system(**recipe.training | {"lambda_adv": 0.5})
    system.opponent_optimizer.learning_rate = 0.0
    system.begin_epoch(0)
    before = _values(system.denoiser), _values(system.opponent)
    logs = {k: float(v) for k, v in system.train_step((low_dose, full_dose)).items()}
    assert logs["adversarial_loss"] == pytest.approx(expected, rel=1e-3)
    images = sum(logs[f"{term}_loss"] for term in ("l1", "pyramid", "histogram"))
    assert logs["loss"] == pytest.approx(images + 0.5 * expected, rel=1e-3)
    system.opponent_optimizer.learning_rate = 1e-3
    system.train_step((low_dose, full_dose))
    for model, weights in zip((system.denoiser, system.opponent), before, strict=True):
        changed = zip(_values(model), weights, strict=True)
        assert any(not np.array_equal(*pair) for pair in changed)
    code = AdlSettings.from_plain(get_spec("adl").recipe("report_code").training)
    assert code.mode == "code"


def test_accuracy_of_the_discriminator():
    system = _system(phases=(0, 0, 1))
    system.opponent_optimizer.learning_rate = 0.0
    system.begin_epoch(0)
    low_dose, full_dose = _batch()
    system.opponent.set_weights([np.zeros(w.shape) for w in system.opponent.weights])
    logs = system.train_step((low_dose, full_dose))
    assert float(logs["discriminator_accuracy"]) == pytest.approx(0.5)
    system = _system(phases=(0, 0, 1))
    system.opponent_optimizer.learning_rate = 0.0
    fake = system.denoiser(low_dose, training=True)[0]
    right = [
        (np.mean(np.heaviside(real, 0.5)) + np.mean(np.heaviside(-made, 0.5))) / 2
        for real, made in zip(
            system.opponent(full_dose, training=True),
            system.opponent(fake, training=True),
            strict=True,
        )
    ]
    system = _system(phases=(0, 0, 1))
    system.opponent_optimizer.learning_rate = 0.0
    system.begin_epoch(0)
    logs = system.train_step((low_dose, full_dose))
    measured = float(logs["discriminator_accuracy"])
    assert measured == pytest.approx(np.mean(right), abs=0.01)


@pytest.mark.parametrize(
    ("accuracies", "ends"),
    [([], False), ([0.5], False), ([0.8, 0.6], False), ([0.5, 0.8, 0.55], True)],
)
def test_training_ends_when_the_discriminator_cannot_tell_any_more(accuracies, ends):
    history = [{"epoch": 1, "discriminator_accuracy": each} for each in accuracies]
    assert _system(stop_accuracy=0.55).converged(history) == ends
    assert not _system().converged(history)


@pytest.mark.parametrize("mode", ["paper", "code"])
def test_what_the_discriminator_takes_for_fake(mode):
    low_dose, full_dose = _batch()
    system = _system(mode=mode)
    system.begin_epoch(1)
    fake = system.denoiser(low_dose)[0] if mode == "paper" else low_dose
    real_maps = system.opponent(full_dose, training=True)
    fake_maps = system.opponent(fake, training=True)
    expected = np.mean(
        [
            np.mean(np.logaddexp(0, -np.asarray(real)))
            + np.mean(np.logaddexp(0, np.asarray(fake)))
            for real, fake in zip(real_maps, fake_maps, strict=True)
        ]
    )
    logs = system.train_step((low_dose, full_dose))
    assert float(logs["discriminator_loss"]) == pytest.approx(expected, rel=1e-4)


def test_in_mode_code_the_denoiser_never_hears_of_the_discriminator():
    system = _system(mode="code", lambda_adv=10.0)
    system.begin_epoch(2)
    logs = {name: float(v) for name, v in system.train_step(_batch()).items()}
    assert logs["adversarial_loss"] == 0
    terms = ("l1_loss", "pyramid_loss", "histogram_loss")
    assert logs["loss"] == pytest.approx(sum(logs[term] for term in terms))
    assert logs["discriminator_loss"] > 0


@pytest.mark.parametrize(
    ("phases", "epochs", "ends"),
    [
        ((50, 50, 50), 150, (50, 100, 150)),
        ((1, 1, 1), 100, (33, 67, 100)),
        ((7, 1, 2), 10, (7, 8, 10)),
        ((1, 0, 0), 5, (5, 5, 5)),
    ],
)
def test_phase_of_an_epoch_follows_from_its_number(phases, epochs, ends):
    settings = AdlSettings(phases=phases)
    assert settings.phase_ends(epochs) == ends
    starts = (0, *ends)
    for index, phase in enumerate(("denoiser", "discriminator", "joint")):
        for epoch in range(starts[index], starts[index + 1]):
            assert settings.phase(epoch, epochs) == phase


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "half"},
        {"adversarial": "wasserstein"},
        {"histogram_kernel": "hard"},
        {"phases": (1, 1)},
        {"phases": (0, 1, 0)},
        {"decay": 0.5},
        {"joint_learning_rate": 1e-4, "decay_steps": 0},
        {"lambda_l1": "much"},
    ],
)
def test_settings_that_train_nothing_are_refused(settings):
    with pytest.raises(CtKerasError) as refusal:
        AdlSettings(**settings)
    assert refusal.value.code == "CTK-E000"


def test_learning_rates_of_the_paper():
    recipe = replace(adl.SPEC.recipe("paper"), options={"width": 2})
    system = adl.make_system(recipe)
    for optimizer in (system.optimizer, system.opponent_optimizer):
        rate = optimizer._learning_rate
        expected = {0: 1e-4, 49_999: 1e-4, 50_000: 4e-5, 99_999: 4e-5}
        for update, value in expected.items():
            assert float(rate(update)) == pytest.approx(value, rel=1e-5)
    assert recipe.noise.sigma_range == (0.0, 55 / 255)


def test_schedule_of_quick_ends_with_the_last_update_of_each_network():
    system = adl.make_system(replace(QUICK, options={"width": 2}))
    for optimizer, epochs in (
        (system.optimizer, 9),
        (system.opponent_optimizer, 3),
    ):
        rate = optimizer._learning_rate
        updates = epochs * QUICK.steps_per_epoch
        assert float(rate(updates)) == pytest.approx(5e-5, rel=1e-3)
        assert float(rate(updates - 30)) > 5.01e-5


def test_the_joint_learning_rate_follows_a_schedule_of_the_recipe():
    settings = {"phases": (7, 1, 2), "joint_learning_rate": 2e-4}
    training = settings | {"discriminator_width": 2}
    system = adl.make_system(replace(QUICK, options={"width": 2}, training=training))
    steps = QUICK.steps_per_epoch
    for optimizer, alone in (
        (system.optimizer, 7),
        (system.opponent_optimizer, 1),
    ):
        rate = optimizer._learning_rate
        again = PhasedRate.from_config(rate.get_config())
        assert float(rate(alone * steps)) == pytest.approx(2e-4)
        assert float(rate((alone + 2) * steps)) == pytest.approx(2e-4)
        peak = max(float(rate(step)) for step in range(0, alone * steps, 5))
        assert peak == pytest.approx(QUICK.learning_rate, rel=0.02)
        assert float(rate(alone * steps - 1)) == pytest.approx(5e-5, rel=0.02)
        assert float(again(17)) == float(rate(17))


@pytest.fixture
def small_recipe(monkeypatch):
    """Three phases in four epochs of two steps, of small networks."""
    monkeypatch.setattr(adl, "AdlDenoiser", lambda **_: _small_networks()[0])
    monkeypatch.setattr(adl, "AdlDiscriminator", lambda *_, **__: _small_networks()[1])
    recipe = replace(
        QUICK,
        patch_size=40,
        batch_size=2,
        epochs=4,
        steps_per_epoch=2,
        training={"phases": (1, 1, 2), "discriminator_width": 3},
    )
    monkeypatch.setitem(models._SPECS, "adl", replace(adl.SPEC, recipes=(recipe,)))


def test_a_run_resumed_in_any_phase_ends_alike(small_recipe, phantom_records, tmp_path):
    def run(out, **options):
        result = train(
            "adl",
            phantom_records,
            out=out,
            recipe="quick",
            validation_slices=1,
            seed=5,
            **options,
        )
        assert result.finished
        with np.load(out / "checkpoints" / "ckpt-00004" / "arrays.npz") as arrays:
            return {name: arrays[name] for name in arrays.files}

    undisturbed = run(tmp_path / "undisturbed")
    counters = [k for k in undisturbed if k.endswith("iteration")]
    assert sorted(int(undisturbed[k]) for k in counters) == [6, 6]
    for lost in (1, 2):  # inside the joint phase; before it
        out = tmp_path / f"lost{lost}"
        shutil.copytree(tmp_path / "undisturbed", out)
        for checkpoint in sorted((out / "checkpoints").iterdir())[-lost:]:
            shutil.rmtree(checkpoint)
        resumed = run(out, resume=True)
        assert resumed.keys() == undisturbed.keys()
        for name in resumed:
            assert np.array_equal(resumed[name], undisturbed[name]), name


def test_checkpoints_hold_both_networks_and_both_optimisers():
    system = _system(_published_networks)
    names = list(training_variables(system))
    trained = sum(
        len(network.trainable_variables)
        for network in (system.denoiser, system.opponent)
    )
    assert sum(name.startswith("model/") for name in names) == len(
        system.denoiser.variables
    ) + len(system.opponent.variables)
    assert sum("momentum" in name for name in names) == trained
    assert sum("velocity" in name for name in names) == trained


def test_the_product_is_the_full_scale_alone():
    system = _system(_published_networks)
    assert len(system.network.outputs) == 1
    assert system.network.layers[-1].name == "denoised"
    x = _batch()[0]
    assert np.array_equal(
        np.asarray(system.network(x)), np.asarray(system.denoiser(x)[0])
    )
    assert not [layer for layer in system.network.layers if layer.name[:2] == "t2"]
