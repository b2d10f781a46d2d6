"""Perceptual loss, the preparation of images and the loading of extractors."""

import keras
import numpy as np
import pytest

from ct_keras import hu
from ct_keras.errors import CtKerasError
from ct_keras.losses import perceptual


def _images(shape=(2, 32, 32, 1), seed=0):
    return np.random.default_rng(seed).uniform(0.2, 0.3, shape).astype(np.float32)


def _nothing(channels: int) -> keras.Model:
    """An extractor that gives its input back."""
    image = keras.Input((None, None, channels))
    return keras.Model(image, keras.layers.Identity()(image))


def _loss(features, reference, prediction) -> float:
    return float(
        perceptual.perceptual_loss(
            reference=reference, prediction=prediction, features=features
        )
    )


@pytest.fixture(scope="module")
def random_vgg() -> keras.Model:
    """The whole VGG-19 with random weights, standing in for the ImageNet ones."""
    keras.utils.set_random_seed(0)
    return keras.applications.VGG19(
        include_top=False, weights=None, input_shape=(None, None, 3)
    )


def test_same_image_has_no_loss():
    features = perceptual.feature_network("filter_bank")
    assert _loss(features, _images(), _images()) == 0


def test_constant_shift_of_the_features_gives_its_square():
    features = perceptual.feature_network(_nothing(1))
    x = _images()
    assert _loss(features, x, x + 0.5) == pytest.approx(0.25, rel=1e-5)
    assert _loss(features, x + 0.5, x) == pytest.approx(0.25, rel=1e-5)


def test_colour_extractors_get_what_the_vgg_weights_expect():
    features = perceptual.feature_network(_nothing(3))
    x = _images()
    prepared = np.asarray(features(x))
    for channel, mean in enumerate((103.939, 116.779, 123.68)):
        expected = 255 * x[..., 0] - mean
        assert prepared[..., channel] == pytest.approx(expected, abs=1e-3)
    # Keras's own preparation, of a grey picture, which it turns from RGB to BGR.
    own = keras.applications.vgg19.preprocess_input(np.repeat(255 * x, 3, axis=-1))
    assert prepared == pytest.approx(own, abs=1e-3)


def test_window_is_stretched_and_not_clipped():
    features = perceptual.feature_network(_nothing(1), window_hu=(-300, 300))
    values = hu.to_network(np.array([-1024.0, -300, 0, 300, 900]))
    windowed = np.asarray(features(values.reshape(1, 1, 5, 1))).ravel()
    assert windowed == pytest.approx([-724 / 600, 0, 0.5, 1, 2], abs=1e-6)


def test_gradient_reaches_the_image_and_features_stay_float32_in_half_precision():
    import tensorflow as tf

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        features = perceptual.feature_network("filter_bank")
    finally:
        keras.config.set_dtype_policy(policy)
    assert features(_images()).dtype == "float32"
    bank = features.get_layer("filter_bank").layers
    assert {layer.compute_dtype for layer in bank[1:]} == {"float32"}
    assert features.trainable_variables == []
    prediction = tf.Variable(_images(seed=1))
    with tf.GradientTape() as tape:
        loss = perceptual.perceptual_loss(
            reference=_images(seed=2), prediction=prediction, features=features
        )
    assert np.abs(np.asarray(tape.gradient(loss, prediction))).min() > 0


def test_filter_bank_by_hand():
    """A step of 20 HU through the bank, by plain loops."""
    bank = perceptual.filter_bank()
    first, second = (np.asarray(w) for w in bank.weights)
    image_hu = np.zeros((16, 16))
    image_hu[:, 9:] = 20
    x = np.asarray(bank(hu.to_network(image_hu)[None, :, :, None]))[0]

    def convolve(image, kernel):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
        result = np.zeros((*image.shape[:2], kernel.shape[-1]))
        for row in range(image.shape[0]):
            for column in range(image.shape[1]):
                part = padded[row : row + 5, column : column + 5]
                result[row, column] = np.tensordot(part, kernel, 3)
        return np.maximum(result, 0)

    level1 = convolve(image_hu[:, :, None] / 10, first)
    pooled = level1.reshape(8, 2, 8, 2, 12).mean(axis=(1, 3))
    assert x.shape == (8, 8, 72)
    assert x == pytest.approx(convolve(pooled, second), abs=1e-4)
    # The smoothing kernel gives 2 (tens of HU), no derivative answers to a constant.
    assert level1[8, 13, 0] == pytest.approx(2, rel=1e-6)
    assert np.abs(first[..., 1:6].sum((0, 1))).max() < 1e-6


def test_vgg_from_a_local_file_is_that_network_up_to_conv5_4(random_vgg, tmp_path):
    path = tmp_path / "vgg19.weights.h5"
    random_vgg.save_weights(path)
    keras.utils.set_random_seed(1)
    extractor = perceptual.load_extractor(path)
    assert extractor.count_params() == 20_024_384
    assert extractor.trainable_variables == []
    convolutions = [w for w in extractor.weights if w.name == "kernel"]
    assert len(convolutions) == 16
    x = _images()
    features = np.asarray(perceptual.feature_network(extractor)(x))
    assert features.shape == (2, 2, 2, 512)
    by_hand = keras.applications.vgg19.preprocess_input(np.repeat(255 * x, 3, -1))
    for layer in random_vgg.layers[1:]:
        by_hand = layer(by_hand)
        if layer.name == "block5_conv4":
            break
    assert features.std() > 0
    assert features == pytest.approx(np.asarray(by_hand), rel=1e-4, abs=1e-5)


def test_missing_download_is_an_error_that_names_the_ways_out(monkeypatch):
    def no_connection(**options):
        assert options["weights"] == "imagenet"
        raise Exception("URL fetch failure on https://...: None -- no route")

    monkeypatch.setattr(keras.applications, "VGG19", no_connection)
    for source in (None, "imagenet"):
        with pytest.raises(CtKerasError) as refusal:
            perceptual.load_extractor(source)
        assert refusal.value.code == "CTK-E005"
        for way in ('"imagenet"', "a file", "perceptual_weight=0"):
            assert way in str(refusal.value)


def test_file_that_is_not_there_or_no_vgg_is_refused(tmp_path):
    (tmp_path / "text.weights.h5").write_text("no weights")
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    for name in ("absent.h5", "text.weights.h5", "other.weights.h5"):
        with pytest.raises(CtKerasError) as refusal:
            perceptual.load_extractor(tmp_path / name)
        assert refusal.value.code == "CTK-E005"
        assert f"received: {name};" in str(refusal.value)
        assert str(tmp_path) not in str(refusal.value)


def test_file_that_lacks_a_layer_never_leaves_random_weights(random_vgg, tmp_path):
    import h5py

    path = tmp_path / "part.weights.h5"
    random_vgg.save_weights(path)
    with h5py.File(path, "r+") as file:
        layers = []
        file.visit(lambda name: layers.append(name) if name.endswith("vars") else None)
        last = [name for name in layers if "conv" in name and len(file[name])][-1]
        del file[last.removesuffix("/vars")]
    with pytest.raises(CtKerasError) as refusal:
        perceptual.load_extractor(path)
    assert refusal.value.code == "CTK-E005"


def test_extractor_of_two_channels_is_refused():
    with pytest.raises(CtKerasError) as refusal:
        perceptual.feature_network(_nothing(2))
    assert refusal.value.code == "CTK-E000"
