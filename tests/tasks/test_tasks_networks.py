"""Segmentation and classification networks to the layer."""

import json
import math
import re
import zipfile

import keras
import numpy as np
import pytest
from keras import applications as keras_applications

from ct_keras import hu, tasks
from ct_keras.errors import CtKerasError
from ct_keras.tasks import applications

#: Small enough to run, one of each kind of layer that the network has.
TINY = {
    "fcn8s": {"width": 2, "image_size": (64, 96), "zero_scores": False},
    "deconvnet": {"width": 2, "image_size": (64, 96)},
    "unet": {"width": 2, "levels": 3},
    "alexnet": {"width": 6, "image_size": (67, 99), "lrn": True, "groups": 2},
    "lesion_net": {"width": 2},
}


def _counts(name, **options):
    """Trainable and all parameters of a full network, whose weights are never made."""
    with keras.StatelessScope(initialize_variables=False):
        network = tasks.build(name, **options)
        trainable = sum(math.prod(v.shape) for v in network.trainable_variables)
        counts = trainable, network.count_params()
    keras.backend.clear_session()
    return counts


def _automatic_name(layer):
    """The layer's name if Keras made it up: its class in snake case and a number."""
    given = re.sub(r"_\d+$", "", layer.name).replace("_", "")
    automatic = given == type(layer).__name__.lower() != "flatten"
    return layer.name if automatic else None


def _noise(shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "options", "trainable", "total"),
    [
        ("fcn8s", {}, 134_269_126, 134_270_278),
        ("fcn8s", {"classes": 21}, 134_361_599, 134_361_599 + 127_008),
        (
            *("fcn8s", {"classes": 21, "channels": 3}),
            *(134_362_751, 134_362_751 + 127_008),
        ),
        ("deconvnet", {}, 251_803_266, None),
        ("deconvnet", {"classes": 21, "channels": 3}, 251_805_653, None),
        ("alexnet", {}, 62_355_112, 62_355_112),
        ("alexnet", {"groups": 2}, 60_941_992, 60_941_992),
        ("alexnet", {"channels": 3}, 62_378_344, 62_378_344),
        ("alexnet", {"channels": 3, "groups": 2}, 60_965_224, 60_965_224),
        ("vgg16", {}, 138_356_392, 138_356_392),
        ("vgg16", {"classes": 2}, 134_267_586, 134_267_586),
        ("resnet50", {}, 25_577_320, 25_630_440),
        ("resnet50", {"classes": 2}, 23_532_418, 23_585_538),
        ("densenet121", {}, 7_972_584, 8_056_232),
        ("inception_v3", {"classes": 2}, 21_771_874, 21_806_306),
        # The documented totals, less two of three channels of the first kernel.
        ("inception_resnet_v2", {}, 55_812_616, 55_873_736 - 576),
        ("mobilenet", {}, 4_231_400, 4_253_864 - 576),
        ("mobilenet_v2", {}, 3_504_296, 3_538_984 - 576),
        ("mobilenet_v3", {}, 2_542_568, 2_554_968 - 288),
        ("nasnet", {}, 5_289_402, 5_326_716 - 576),
        ("efficientnet", {}, 5_287_972, 5_330_571 - 576 - 4),
    ],
)
def test_parameter_counts(name, options, trainable, total):
    counts = _counts(name, **options)
    assert counts[0] == trainable
    assert total is None or counts[1] == total


@pytest.mark.parametrize("name", list(TINY))
def test_names_shapes_and_float32_end(name):
    options = TINY[name]
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        network = tasks.build(name, classes=3, **options)
    finally:
        keras.config.set_dtype_policy(policy)
    assert network.input.name == "image"
    assert network.layers[-1].name == "probabilities"
    assert network.compute_dtype == "float16"
    rows, columns = options.get("image_size", (64, 96))
    found = np.asarray(network(_noise((2, rows, columns, 1))))
    segments = tasks.get_task(name).kind == "segmentation"
    assert found.shape == ((2, rows, columns, 3) if segments else (2, 3))
    assert found.dtype == np.float32
    assert found.sum(-1) == pytest.approx(1, abs=1e-5)
    own_names = [name for name in map(_automatic_name, network.layers) if name]
    assert own_names == []


@pytest.mark.parametrize("name", list(TINY))
def test_a_file_restores_the_network(name, tmp_path):
    network = tasks.build(name, classes=2, **TINY[name])
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    rows, columns = TINY[name].get("image_size", (64, 96))
    x = _noise((1, rows, columns, 1))
    assert np.array_equal(np.asarray(again(x)), np.asarray(network(x)))
    with zipfile.ZipFile(tmp_path / "network.keras") as archive:
        config = json.loads(archive.read("config.json"))
    own = {
        layer["registered_name"]
        for layer in config["config"]["layers"]
        if layer["registered_name"]
    }
    expected = {
        "deconvnet": {"ct_keras>MaxPoolingWithSwitches", "ct_keras>MaxUnpooling"},
        "alexnet": {"ct_keras>LocalResponseNormalization"},
    }
    assert {entry for entry in own if ">" in entry} == expected.get(name, set())


_FCN_LAYERS = ("pool1", "pool2", "pool3", "pool4", "pool5", "fc6")
_FCN_LAYERS += ("upscore2", "upscore_pool4", "upscore8", "probabilities")


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        (512, [355, 178, 89, 45, 23, 17, 36, 74, 600, 512]),
        (224, [211, 106, 53, 27, 14, 8, 18, 38, 312, 224]),
    ],
)
def test_sizes_of_fcn8s(size, sizes):
    network = tasks.build("fcn8s", width=1, image_size=(size, size))
    assert [network.get_layer(n).output.shape[1] for n in _FCN_LAYERS] == sizes


def test_crops_of_fcn8s_start_at_the_offsets_of_its_authors():
    network = tasks.build("fcn8s", width=1)
    crops = {
        name: network.get_layer(f"{name}_crop").cropping[0]
        for name in ("score_pool4", "score_pool3", "upscore8")
    }
    assert crops == {
        "score_pool4": (5, 4),
        "score_pool3": (9, 6),
        "upscore8": (31, 57),
    }


def test_upsampling_of_fcn8s_is_bilinear_frozen_and_by_class():
    network = tasks.build("fcn8s", width=1, classes=3)
    kernel = np.asarray(network.get_layer("upscore2").kernel)
    line = [0.25, 0.75, 0.75, 0.25]
    for i in range(3):
        for j in range(3):
            expected = np.outer(line, line) * (i == j)
            assert np.array_equal(kernel[:, :, i, j], expected)
    for name, side in (("upscore2", 4), ("upscore_pool4", 4), ("upscore8", 16)):
        layer = network.get_layer(name)
        assert layer.kernel.shape == (side, side, 3, 3)
        assert layer.trainable_weights == []
        # Each place of the output gets weights that add up to one.
        stride = side // 2
        plane = np.asarray(layer.kernel)[:, :, 0, 0]
        sums = plane.reshape(2, stride, 2, stride).sum((0, 2))
        assert sums == pytest.approx(1)


def test_fcn8s_starts_undecided():
    network = tasks.build("fcn8s", width=1, classes=4, image_size=(40, 56))
    found = np.asarray(network(_noise((1, 40, 56, 1))))
    assert found == pytest.approx(0.25)


def test_fcn8s_without_padding_takes_multiples_of_32():
    network = tasks.build("fcn8s", width=1, padding="same")
    for shape in ((1, 32, 64, 1), (1, 96, 32, 1)):
        assert network(_noise(shape)).shape == (*shape[:3], 2)
    with pytest.raises(CtKerasError) as refusal:
        tasks.build("fcn8s", width=1, padding="same", image_size=(40, 64))
    assert refusal.value.code == "CTK-E041"


def test_sizes_of_deconvnet():
    network = tasks.build("deconvnet", width=1)
    shapes = {layer.name: layer.output for layer in network.layers}
    assert shapes["fc6"].shape == (None, 1, 1, 64)
    assert shapes["fc6_deconv"].shape == (None, 7, 7, 8)
    decoder = {5: (14, 8, 8, 8), 4: (28, 8, 8, 4), 3: (56, 4, 4, 2)}
    decoder |= {2: (112, 2, 1), 1: (224, 1, 1)}
    for block, (size, *maps) in decoder.items():
        for index, filters in enumerate(maps, start=1):
            shape = shapes[f"deconv{block}_{index}"].shape
            assert shape == (None, size, size, filters)


def test_deconvnet_unpools_with_the_switches_of_the_same_level():
    network = tasks.build("deconvnet", width=2, image_size=(32, 32))
    for block in range(1, 6):
        _, switches = network.get_layer(f"unpool{block}").input
        pooled = network.get_layer(f"pool{block}").output[1]
        assert switches is pooled


def test_sizes_of_alexnet():
    network = tasks.build("alexnet", width=6)
    shapes = {layer.name: layer.output.shape[1:] for layer in network.layers}
    assert shapes["conv1"] == (55, 55, 6)
    assert shapes["conv2"] == (27, 27, 16)
    assert shapes["conv3"] == (13, 13, 24)
    assert shapes["pool5"] == (6, 6, 16)
    assert shapes["fc6"] == (256,)


@pytest.mark.parametrize("name", ["alexnet", "deconvnet"])
def test_sizes_that_do_not_fit_are_refused(name):
    with pytest.raises(CtKerasError) as refusal:
        tasks.build(name, width=2, image_size=(66, 66))
    assert refusal.value.code == "CTK-E041"


def test_window_spreads_a_range_of_hu_and_clips_it():
    network = tasks.build("lesion_net", width=2, window_hu=(-100, 250))
    inner = keras.Model(network.input, network.get_layer("window_clip").output)
    values = np.array([-1024, -100, 75, 250, 3000]).reshape(1, 1, 5, 1)
    found = np.asarray(inner(hu.to_network(values))).ravel()
    assert found == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-5)


def test_vgg16_start_answers_as_vgg16_to_an_image_in_all_channels():
    image = keras.Input((32, 32, 3))
    x = image
    for block, (count, multiple) in enumerate(((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))):
        for index in range(count):
            name = f"block{block + 1}_conv{index + 1}"
            conv = keras.layers.Conv2D(
                2 * multiple,
                *(3,),
                padding="same",
                activation="relu",
                bias_initializer="random_normal",
                name=name,
            )
            x = conv(x)
            if name == "block2_conv2":
                here = x
        x = keras.layers.MaxPooling2D()(x) if block < 4 else x
    vgg = keras.Model(image, x)
    network = tasks.build("fcn8s", width=2, padding="same", image_size=(32, 32))
    assert len(tasks.start_from_vgg16(network, vgg)) == 13
    grey = _noise((1, 32, 32, 1))
    expected = np.asarray(keras.Model(image, [here, x])(np.repeat(grey, 3, -1))[1])
    last = keras.Model(network.input, network.get_layer("conv5_3").output)
    assert np.abs(expected).max() > 0
    assert np.asarray(last(grey)) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    with pytest.raises(CtKerasError) as refusal:
        tasks.start_from_vgg16(tasks.build("fcn8s", width=1), vgg)
    assert refusal.value.code == "CTK-E087"


@pytest.mark.parametrize(
    ("family", "module"),
    [
        ("vgg16", keras_applications.vgg16),
        ("resnet50", keras_applications.resnet50),
        ("densenet121", keras_applications.densenet),
        ("inception_v3", keras_applications.inception_v3),
        ("inception_resnet_v2", keras_applications.inception_resnet_v2),
        ("mobilenet", keras_applications.mobilenet),
        ("mobilenet_v2", keras_applications.mobilenet_v2),
        # Built without its own scaling, which is that of v2.
        ("mobilenet_v3", keras_applications.mobilenet_v2),
        ("nasnet", keras_applications.nasnet),
        ("efficientnet", keras_applications.efficientnet),
    ],
)
def test_imagenet_weights_see_three_scaled_copies(family, module, monkeypatch):
    asked = {}

    def small(*, input_tensor, classes, **options):
        asked.update(options, classes=classes)
        x = keras.layers.GlobalAveragePooling2D(name="mean")(input_tensor)
        for name in ("one", "two"):
            x = keras.layers.Identity(name=name)(x)
        x = keras.layers.Dense(classes, name="predictions")(x)
        return keras.Model(input_tensor, x)

    builder = applications.FAMILIES[family].builder
    monkeypatch.setattr(keras_applications, builder, small)
    network = tasks.build(family, classes=2, weights="imagenet")
    assert asked["weights"] == "imagenet"
    assert asked["classes"] == 1000
    assert network.output.shape == (None, 2)
    scaled = keras.Model(network.input, network.get_layer("imagenet_scale").output)
    grey = _noise((1, *network.input.shape[1:]))
    # Keras scales pictures of 0 to 255; ours go from 0 to 1.
    expected = module.preprocess_input(255 * np.repeat(grey, 3, -1))
    assert np.asarray(scaled(grey)) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(
    ("family", "features"), [("mobilenet", 1024), ("mobilenet_v3", 1024)]
)
def test_new_classes_see_the_features(family, features, monkeypatch):
    builder = applications.FAMILIES[family].builder
    real = getattr(keras_applications, builder)

    def untrained(*, weights, **options):
        return real(weights=None, **options)

    monkeypatch.setattr(keras_applications, builder, untrained)
    with keras.StatelessScope(initialize_variables=False):
        network = tasks.build(family, classes=2, weights="imagenet")
    assert network.get_layer("predictions").kernel.shape == (features, 2)


def test_efficientnet_sees_grey_values():
    """Its builder divides by 255, also without weights."""
    with keras.StatelessScope(initialize_variables=False):
        network = tasks.build("efficientnet", classes=2, image_size=(32, 32))
    scales = [each.scale for each in network.layers if hasattr(each, "scale")]
    scales = [scale for scale in scales if isinstance(scale, float)]
    assert np.prod(scales) == pytest.approx(1)


def test_unknown_names_are_refused():
    with pytest.raises(CtKerasError) as refusal:
        tasks.build("segnet")
    assert refusal.value.code == "CTK-E092"
    with pytest.raises(CtKerasError) as refusal:
        tasks.get_task("vgg16").recipe("quick")
    assert refusal.value.code == "CTK-E084"


def test_every_recipe_builds_its_network():
    for name in tasks.list_tasks():
        spec = tasks.get_task(name)
        for recipe in spec.recipes:
            with keras.StatelessScope(initialize_variables=False):
                network = spec.builder(**recipe.options)
                kinds = len(tasks.ORGANS) + 1 if spec.kind == "segmentation" else 2
                assert network.output.shape[-1] == kinds
            keras.backend.clear_session()


@pytest.mark.parametrize(
    ("filters", "kernel", "strides", "shape", "output", "parameters"),
    [
        (4, 9, (1, 2), (128, 128, 1), (120, 60, 4), 328),
        (32, 3, (1, 2), (64, 64, 1), (62, 31, 32), 320),
        (8, 3, (1, 2), (62, 31, 32), (60, 15, 8), 2312),
    ],
)
def test_exercise_convolutions(filters, kernel, strides, shape, output, parameters):
    conv = keras.layers.Conv2D(filters, kernel, strides=strides)
    assert conv(keras.Input(shape)).shape[1:] == output
    assert conv.count_params() == parameters


def test_exercise_of_two_convolutions_has_2632_parameters():
    network = keras.Sequential(
        [
            keras.Input((64, 64, 1)),
            keras.layers.Conv2D(32, 3, strides=(1, 2)),
            keras.layers.Conv2D(8, 3, strides=(1, 2)),
        ]
    )
    assert network.count_params() == 2632


def test_exercise_of_back_propagation_through_one_dimension():
    """y_i = x_i w1 + x_(i+1) w2, then a neuron with a sigmoid, squared error."""
    import tensorflow as tf

    x, w, u, target = np.array([0.3, -1.0, 0.7, 2.0]), [0.5, -0.4], [0.2, 0.9, -0.6], 1
    conv = keras.layers.Conv1D(1, 2, use_bias=False, dtype="float64")
    neuron = keras.layers.Dense(1, "sigmoid", use_bias=False, dtype="float64")
    network = keras.Sequential(
        [keras.Input((4, 1)), conv, keras.layers.Flatten(dtype="float64"), neuron]
    )
    conv.kernel.assign(np.reshape(w, (2, 1, 1)))
    neuron.kernel.assign(np.reshape(u, (3, 1)))
    with tf.GradientTape() as tape:
        found = network(x.reshape(1, 4, 1))
        loss = 0.5 * tf.reduce_sum((found - target) ** 2)
    gradient = np.asarray(tape.gradient(loss, conv.kernel.value)).ravel()

    y = x[:-1] * w[0] + x[1:] * w[1]
    end = 1 / (1 + np.exp(-np.dot(u, y)))
    g = (end - target) * end * (1 - end) * np.array(u)
    expected = [(g * x[:-1]).sum(), (g * x[1:]).sum()]
    assert gradient == pytest.approx(expected)
