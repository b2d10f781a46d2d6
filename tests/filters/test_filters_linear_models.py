"""Linear filters as networks: the numbers of the filters, from frozen kernels."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import ct_keras
from ct_keras import filters
from ct_keras.errors import CtKerasError
from ct_keras.filters.linear_models import linear_model, list_linear

CHOSEN = [
    *(("gaussian", {"sigma": sigma}) for sigma in (0, 0.5, 1.0, 2.0)),
    *(("mean", {"size": size}) for size in (1, 3, 7)),
    ("blur", {}),
    ("gaussian_5x5", {}),
]
# One pixel, narrower than the kernels (sigma 2 reaches 8 pixels far), even and odd.
SHAPES = [(1, 1), (1, 9), (2, 1), (3, 2), (7, 9), (33, 57), (64, 48)]


def _ct_like(shape, seed=0):
    """Air, soft tissue and bone, without any smoothness that hides an error."""
    image = np.random.default_rng(seed).uniform(-1000, 1500, shape)
    return image.astype(np.float32)


def _run(network, image):
    return np.asarray(network(image[None, ..., None]))[0, ..., 0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "parameters"), CHOSEN)
def test_a_model_gives_the_numbers_of_its_filter_also_at_borders(
    name, parameters, shape
):
    chosen = filters.get(name, **parameters)
    image = _ct_like(shape)
    network = linear_model(chosen)
    assert _run(network, image) == pytest.approx(chosen(image), abs=1e-3)


@pytest.mark.parametrize(("name", "parameters"), CHOSEN)
def test_a_denoiser_around_it_is_the_filter_padding_included(name, parameters):
    chosen = filters.get(name, **parameters)
    image = _ct_like((33, 57))
    image[:9] = -3024
    image[20, 20] = -1500.5
    denoised = ct_keras.Denoiser(linear_model(chosen))(image)
    assert denoised == pytest.approx(chosen(image), abs=1e-3)
    assert np.array_equal(denoised[:9], image[:9])


def test_outline_is_a_model_too():
    image = _ct_like((12, 15))
    chosen = filters.get("outline")
    expected = chosen(image)
    assert np.abs(expected).max() > 5000
    assert _run(linear_model(chosen), image) == pytest.approx(expected, abs=5e-3)


def test_kernels_are_the_golden_ones():
    (blur,) = linear_model(filters.get("blur")).weights
    expected = [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert np.array_equal(np.asarray(blur)[..., 0, 0] * 16, expected)
    (lectures,) = linear_model(filters.get("gaussian_5x5")).weights
    assert np.asarray(lectures).shape == (5, 5, 1, 1)
    assert np.asarray(lectures).sum() == pytest.approx(1, abs=1e-6)
    assert float(lectures[2, 2, 0, 0]) == pytest.approx(15 / 159, abs=1e-8)
    assert float(lectures[0, 1, 0, 0]) == pytest.approx(4 / 159, abs=1e-8)
    column, row = linear_model(filters.get("mean", size=5)).weights
    assert np.asarray(column * tf.transpose(row, (1, 0, 2, 3))) == pytest.approx(1 / 25)


def test_a_gaussian_is_two_kernels_of_its_own_sigma():
    column, row = linear_model(filters.get("gaussian", sigma=2)).weights
    assert (column.shape, row.shape) == ((17, 1, 1, 1), (1, 17, 1, 1))
    profile = np.exp(-(np.arange(-8, 9) ** 2) / (2 * 2**2))
    for kernel in (column, row):
        assert np.ravel(kernel) == pytest.approx(profile / profile.sum(), abs=1e-7)


@pytest.mark.parametrize(("name", "parameters"), CHOSEN)
def test_nothing_can_be_trained(name, parameters):
    network = linear_model(filters.get(name, **parameters))
    assert network.name == name
    assert network.trainable_weights == []
    kinds = {type(layer) for layer in network.layers if layer.weights}
    assert kinds == {keras.layers.DepthwiseConv2D}


@pytest.mark.parametrize("pixel", [(10, 12), (0, 0), (2, 24)])
@pytest.mark.parametrize("name", list_linear())
def test_the_gradient_of_a_pixel_is_its_kernel_and_adds_up_to_one(name, pixel):
    network = linear_model(filters.get(name))
    image = tf.constant(_ct_like((21, 25))[None, ..., None])
    with tf.GradientTape() as tape:
        tape.watch(image)
        result = network(image)[0, pixel[0], pixel[1], 0]
    gradient = tape.gradient(result, image).numpy()[0, ..., 0]
    assert gradient.sum() == pytest.approx(1, abs=1e-6)
    # Symmetric kernels and mirrored borders: what a pixel gives is what it takes.
    impulse = np.zeros((21, 25), np.float32)
    impulse[pixel] = 1
    assert gradient == pytest.approx(filters.get(name)(impulse), abs=1e-6)


def test_a_saved_model_stays_frozen(tmp_path):
    image = _ct_like((9, 14))
    denoiser = ct_keras.Denoiser(linear_model(filters.get("gaussian", sigma=1.5)))
    denoiser.model.save(tmp_path / "gaussian.keras")
    loaded = ct_keras.load(tmp_path / "gaussian.keras")
    assert np.array_equal(loaded(image), denoiser(image))
    assert loaded.network.trainable_weights == []
    assert len(loaded.network.weights) == 2


_UNDER_JAX = """
import sys
import numpy as np
import keras
from ct_keras import filters
from ct_keras.filters.linear_models import linear_model
assert keras.backend.backend() == "jax"
results = {}
with np.load(sys.argv[1]) as images:
    for key in images.files:
        name = key.split()[0]
        parameters = {"gaussian": {"sigma": 2}, "mean": {"size": 7}}.get(name, {})
        network = linear_model(filters.get(name, **parameters))
        result = network(images[key][None, ..., None])
        results[key] = np.asarray(result)[0, ..., 0]
np.savez(sys.argv[2], **results)
"""


def test_the_same_under_jax(tmp_path):
    pytest.importorskip("jax", reason="the extra jax is not installed")
    given, returned = tmp_path / "in.npz", tmp_path / "out.npz"
    images = {
        f"{name} {number}": _ct_like(shape)
        for name in list_linear()
        for number, shape in enumerate([(1, 1), (3, 2), (33, 57)])
    }
    np.savez(given, **images)
    environment = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    subprocess.run(
        [sys.executable, "-c", _UNDER_JAX, given, returned],
        check=True,
        env=os.environ | environment,
    )
    parameters = {"gaussian": {"sigma": 2}, "mean": {"size": 7}}
    with np.load(returned) as results:
        assert set(results.files) == set(images)
        for key, image in images.items():
            name = key.split()[0]
            expected = filters.get(name, **parameters.get(name, {}))(image)
            assert results[key] == pytest.approx(expected, abs=1e-3), key


def test_linear_are_exactly_those_that_add_up():
    """A filter is linear if that of a sum is the sum of those of its parts."""
    one, two = _ct_like((24, 24), 1) / 4, _ct_like((24, 24), 2) / 4
    for name in ("mean", "gaussian", "blur", "gaussian_5x5", "median", "wiener", "tv"):
        chosen = filters.get(name)
        error = np.abs(chosen(one + two) - chosen(one) - chosen(two)).max()
        assert (error < 1e-2) == (name in list_linear()), name
    assert list_linear() == ["mean", "gaussian", "blur", "gaussian_5x5"]


NOT_LINEAR = set(filters.list_filters(hu_preserving=None)) - {*list_linear(), "outline"}


@pytest.mark.parametrize("name", sorted(NOT_LINEAR))
def test_what_is_not_linear_is_refused_and_told_what_is(name):
    with pytest.raises(CtKerasError, match="mean, gaussian, blur, gaussian_5x5") as no:
        linear_model(filters.get(name))
    assert no.value.code == "CTK-E000"
    assert name in str(no.value)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("mean", {"size": 4}),
        ("gaussian", {"sigma": -1}),
        ("gaussian", {"sigma": np.nan}),
    ],
)
def test_parameters_that_give_no_kernel_are_refused(name, parameters):
    with pytest.raises(CtKerasError) as refusal:
        linear_model(filters.get(name, **parameters))
    assert refusal.value.code == "CTK-E000"


def test_the_module_needs_keras_only_to_make_a_model():
    check = (
        "import sys, ct_keras.filters.linear_models; "
        "print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_the_middle_of_an_image_is_the_lectures_number():
    patch = np.array([[205, 247, 245], [161, 137, 244], [154, 75, 200]], np.float32)
    assert _run(linear_model(filters.get("blur")), patch)[1, 1] == 175.375
    assert _run(linear_model(filters.get("outline")), patch)[1, 1] == -435
