"""Sizes and reach of a network follow from its layers, whatever it is called."""

import keras
import numpy as np
import pytest
from keras import layers

import ct_keras
from ct_keras import models
from ct_keras.errors import CtKerasError
from ct_keras.models import SizeRule, halo_of, largest_output, size_rule_of


def _hu(shape, seed=0):
    return np.random.default_rng(seed).normal(0, 200, shape).astype(np.float32)


def _unet(skip_first=True, rank=2, name="mine"):
    """Halves twice; its joint keeps the size of whatever it names first."""
    conv, up = getattr(layers, f"Conv{rank}D"), getattr(layers, f"UpSampling{rank}D")
    image = x = keras.Input((None,) * rank + (1,), name="picture")
    skip = x = conv(2, 3, padding="same")(x)
    x = conv(2, 3, strides=2, padding="same", activation="relu")(x)
    x = conv(2, 3, strides=2, padding="same")(x)
    x = up(4)(x)
    x = layers.Concatenate()([skip, x] if skip_first else [x, skip])
    return keras.Model(image, conv(1, 1)(x), name=name)


@pytest.mark.parametrize(
    ("name", "multiple", "minimum"),
    [
        *[("red_cnn", 1, 21), ("red_net10", 1, 1), ("red_net30", 1, 1)],
        *[("pix2pix", 256, 256), ("wgan_vgg", 1, 1), ("seo_resnet", 1, 1)],
        *[("adl", 8, 8), ("adl3d", 8, 8), ("quiet_net", 8, 8)],
    ],
)
def test_sizes_of_the_zoo(name, multiple, minimum):
    network = models.build(name, width=2, name="renamed")
    assert network.name == "renamed"
    assert size_rule_of(network) == SizeRule(multiple, minimum)


@pytest.mark.parametrize("depth", [3, 4, 5])
def test_sizes_follow_from_the_depth_of_pix2pix(depth):
    network = models.build("pix2pix", width=2, depth=depth)
    assert size_rule_of(network) == SizeRule(2**depth, 2**depth)


def test_fast_red_net_denoises_odd_sizes():
    network = models.RedNet30(width=2, fast=True)
    assert network.name == "red_net30"
    assert size_rule_of(network) == SizeRule(2, 2)
    denoised = ct_keras.Denoiser(network)(_hu((13, 7)))
    assert denoised.shape == (13, 7)
    assert np.isfinite(denoised).all()


def test_a_shallow_pix2pix_is_not_padded_to_256():
    keras.utils.set_random_seed(1)
    network = models.Pix2PixGenerator(width=2, depth=4)
    x = _hu((32, 48))
    u = (x[None, ..., None] + 1024) / 4096
    exact = np.asarray(network(np.maximum(u, 0)))[0, ..., 0] * 4096 - 1024
    exact = np.where(x < -1500, x, exact)
    assert ct_keras.Denoiser(network)(x) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("skip_first", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_a_network_of_ones_own(skip_first, nested, tmp_path):
    network = _unet(skip_first)
    if nested:
        network = keras.Sequential([keras.Input((None, None, 1)), network])
    assert size_rule_of(network) == SizeRule(4, 4)
    path = tmp_path / "mine.keras"
    ct_keras.Denoiser(network).model.save(path)
    x = _hu((9, 14))
    assert np.array_equal(ct_keras.load(path)(x), ct_keras.Denoiser(network)(x))


def test_strides_that_are_no_power_of_two_and_valid_convolutions():
    image = x = keras.Input((None, None, 1))
    x = layers.Conv2D(2, 3, strides=3)(x)
    x = layers.Conv2DTranspose(2, 2, strides=2)(layers.AveragePooling2D(2)(x))
    x = layers.Conv2DTranspose(1, 3, strides=3)(x)
    assert size_rule_of(keras.Model(image, x)) == SizeRule(6, 6)
    x = layers.Conv2DTranspose(1, 9)(layers.Conv2D(1, 9)(image))
    assert size_rule_of(keras.Model(image, x)) == SizeRule(1, 9)


def test_a_side_of_which_a_layer_leaves_nothing_is_too_small():
    image = keras.Input((None, None, 1))
    x = layers.ZeroPadding2D(1)(image[:, 1:-1, 1:-1])
    assert size_rule_of(keras.Model(image, x)) == SizeRule(1, 3)


@pytest.mark.parametrize("skip_first", [True, False])
def test_the_halo_is_the_largest_distance_that_is_seen(skip_first):
    """Compared with what one changed voxel changes, at each place of a period."""
    network = _unet(skip_first, rank=3)
    network.set_weights([np.full(w.shape, 0.1, np.float32) for w in network.weights])
    farthest = 0
    for place in range(40, 44):
        volume = np.ones((1, 84, 4, 4, 1), np.float32)
        before = np.asarray(network(volume))
        volume[0, place] = 2
        changed = np.flatnonzero(np.any(network(volume) != before, axis=(0, 2, 3, 4)))
        farthest = max(farthest, place - changed[0], changed[-1] - place)
    assert halo_of(network) == farthest
    denoiser = ct_keras.Denoiser(network)
    assert denoiser.tiling.halo == farthest
    assert denoiser.tiling.size_rule == SizeRule(4, 4)


def test_the_halo_of_valid_convolutions_and_of_the_zoo():
    halos = {name: halo_of(models.build(name, width=2)) for name in ("red_cnn", "adl")}
    assert halos == {"red_cnn": 20, "adl": 46}


@pytest.mark.parametrize(
    "layer",
    [
        layers.GroupNormalization(groups=-1),
        layers.LayerNormalization(axis=(1, 2, 3)),
        layers.UpSampling2D(1, interpolation="bilinear"),
        layers.BatchNormalization(axis=1),
    ],
)
def test_a_layer_that_may_see_the_whole_image_forbids_blocks(layer):
    image = keras.Input((8, 8, 1))
    assert halo_of(keras.Model(image, layer(image))) is None
    assert halo_of(keras.Model(image, layers.ReLU()(image))) == 0


def _three_channels():
    image = keras.Input((None, None, 3))
    return keras.Model(image, layers.Conv2D(1, 3, padding="same")(image))


def _classifier():
    image = keras.Input((8, 8, 1))
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(image)))


@pytest.mark.parametrize(
    ("network", "received"),
    [
        (lambda: models.WganVggGenerator(width=2, padding="valid"), "differs in size"),
        (_three_channels, "3 channels"),
        (_classifier, "(None, 2)"),
        (lambda: models.AdlDenoiser(width=2, all_scales=True), "and"),
        (lambda: keras.Sequential([layers.Conv2D(1, 3)]), "without a defined input"),
    ],
)
def test_networks_that_do_not_denoise_an_image_are_refused(network, received):
    with pytest.raises(CtKerasError) as refusal:
        ct_keras.Denoiser(network())
    assert refusal.value.code == "CTK-E091"
    assert received in str(refusal.value)


def test_a_sequential_network_is_a_network():
    network = keras.Sequential(
        [
            keras.Input((None, None, 1)),
            layers.Conv2D(2, 3, padding="same"),
            layers.Conv2D(1, 3, padding="same", kernel_initializer="zeros"),
        ]
    )
    assert ct_keras.Denoiser(network)(_hu((5, 6))) == pytest.approx(-1024)


def test_the_largest_output_of_a_layer():
    assert largest_output(models.build("red_cnn", width=8), (64, 48)) == 60 * 44 * 8
    # 2 feature maps at full size beside 2 + 2 joined ones; a nested one likewise.
    assert largest_output(_unet(), (32, 16)) == 32 * 16 * 4
    image = keras.Input((None, None, 1))
    nested = keras.Model(image, layers.Rescaling(2.0)(_unet()(image)))
    assert largest_output(nested, (32, 16)) == 32 * 16 * 4
    assert largest_output(_unet(rank=3), (4, 8, 8)) == 4 * 8 * 8 * 4
