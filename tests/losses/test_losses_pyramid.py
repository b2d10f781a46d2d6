"""The a trous pyramid and the textural loss, against closed forms and SciPy."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from ct_keras.losses import atrous_pyramid, pyramidal_textural_loss
from ct_keras.losses.pyramid import BINOMIAL, PRE_BLUR


def _noise(shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def _reference(images, pre_blur=True):
    """The transform by SciPy, in double precision; "mirror" does not repeat edges."""
    axes = range(1, images.ndim - 1)

    def smooth(x, kernel):
        for axis in axes:
            x = ndimage.correlate1d(x, kernel, axis=axis, mode="mirror")
        return x

    x = images.astype(np.float64)
    if pre_blur:
        x = smooth(x, np.array(PRE_BLUR) / np.sum(PRE_BLUR))
    textures = []
    for level in range(3):
        kernel = np.zeros(4 * 2**level + 1)
        kernel[:: 2**level] = BINOMIAL
        smoother = smooth(x, kernel)
        textures.append(x - smoother)
        x = smoother
    return textures, x


def test_pre_blur_before_its_normalisation_sums_to_the_published_value():
    assert sum(PRE_BLUR) == pytest.approx(0.999932, abs=1e-9)
    sigma = 0.6
    ratio = np.exp(-0.5 * (1 / sigma) ** 2)
    assert PRE_BLUR[1] / PRE_BLUR[2] == pytest.approx(ratio, rel=1e-3)


@pytest.mark.parametrize(
    "shape", [(2, 40, 48, 1), (1, 12, 9, 2), (1, 4, 12, 10, 1), (1, 2, 3, 1, 1)]
)
@pytest.mark.parametrize("pre_blur", [True, False])
def test_pyramid_equals_scipy_also_where_kernels_are_longer_than_the_image(
    shape, pre_blur
):
    images = _noise(shape)
    textures, rest = atrous_pyramid(images, pre_blur=pre_blur)
    expected, expected_rest = _reference(images, pre_blur)
    for ours, theirs in zip([*textures, rest], [*expected, expected_rest], strict=True):
        assert np.asarray(ours) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 40, 40, 1), (1, 16, 20, 18, 1)])
def test_textures_and_rest_add_up_to_the_image(shape):
    images = _noise(shape)
    textures, rest = atrous_pyramid(images, pre_blur=False)
    total = sum(np.asarray(part) for part in [*textures, rest])
    assert total == pytest.approx(images, abs=1e-6)
    textures, rest = atrous_pyramid(images)
    _, blurred = atrous_pyramid(images, levels=0)
    total = sum(np.asarray(part) for part in [*textures, rest])
    assert total == pytest.approx(np.asarray(blurred), abs=1e-6)


def test_a_constant_image_has_no_texture():
    textures, rest = atrous_pyramid(np.full((1, 40, 40, 1), 0.25, np.float32))
    assert max(float(np.abs(texture).max()) for texture in textures) < 1e-7
    assert np.asarray(rest) == pytest.approx(0.25, abs=1e-7)


@pytest.mark.parametrize(
    ("shape", "expected"), [((41, 41), 0.859375), ((17, 17, 17), 1 - 0.375**3)]
)
def test_first_texture_of_an_impulse(shape, expected):
    impulse = np.zeros((1, *shape, 1), np.float32)
    centre = (0, *[side // 2 for side in shape], 0)
    impulse[centre] = 1
    textures, _ = atrous_pyramid(impulse, pre_blur=False)
    assert float(textures[0][centre]) == pytest.approx(expected, abs=1e-7)


def test_loss_adds_all_levels():
    reference, prediction = _noise((2, 40, 40, 1), 1), _noise((2, 40, 40, 1), 2)
    expected = sum(
        np.mean(np.abs(theirs - ours))
        for theirs, ours in zip(
            _reference(prediction)[0], _reference(reference)[0], strict=True
        )
    )
    loss = pyramidal_textural_loss(reference=reference, prediction=prediction)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_loss_ignores_an_offset_and_is_float32():
    reference = (_noise((1, 40, 40, 1)) / 2).astype(np.float16)
    shifted = (reference.astype(np.float32) + 0.25).astype(np.float32)
    loss = pyramidal_textural_loss(reference=reference, prediction=shifted)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    assert float(loss) < 1e-6


def test_size_of_the_image_may_be_unknown_until_it_runs():
    import tensorflow as tf

    reference, prediction = _noise((1, 40, 32, 1), 1), _noise((1, 40, 32, 1), 2)
    spec = tf.TensorSpec((None, None, None, 1), tf.float32)

    @tf.function(input_signature=[spec, spec])
    def loss(reference, prediction):
        return pyramidal_textural_loss(reference=reference, prediction=prediction)

    expected = pyramidal_textural_loss(reference=reference, prediction=prediction)
    assert float(loss(reference, prediction)) == pytest.approx(float(expected))
