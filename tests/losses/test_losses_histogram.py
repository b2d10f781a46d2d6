"""The soft histogram and its loss, against closed forms and NumPy's histogram."""

import keras
import numpy as np
import pytest

from ct_keras.errors import CtKerasError
from ct_keras.losses import histogram_counts, histogram_loss


def _noise(shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def _gradient(prediction, reference, **options):
    import tensorflow as tf

    x = tf.Variable(prediction)
    with tf.GradientTape() as tape:
        loss = histogram_loss(reference=reference, prediction=x, **options)
    return tape.gradient(loss, x)


@pytest.mark.parametrize("kernel", ["triangular", "gaussian", "hard"])
@pytest.mark.parametrize("shape", [(2, 30, 20, 3), (2, 4, 10, 12, 1)])
def test_counts_are_conserved_image_by_image(kernel, shape):
    images = _noise(shape) * 1.4 - 0.2  # also outside the range
    counts = np.asarray(histogram_counts(images, kernel=kernel))
    assert counts.shape == (shape[0] * shape[-1], 256)
    assert counts.sum(axis=1) == pytest.approx(np.prod(shape[1:-1]), rel=1e-5)


def test_equals_the_hard_histogram_on_bin_centres():
    values = np.random.default_rng(0).integers(0, 256, (2, 30, 20, 2))
    images = (values / 255).astype(np.float32)
    expected = [
        np.bincount(values[image, ..., channel].ravel(), minlength=256)
        for image in range(2)
        for channel in range(2)
    ]
    for kernel in ("triangular", "hard"):
        counts = np.asarray(histogram_counts(images, kernel=kernel))
        assert counts == pytest.approx(np.array(expected), abs=1e-2)


def test_a_pixel_between_two_centres_is_shared_linearly():
    image = np.full((1, 1, 1, 1), 100.25 / 255, np.float32)
    counts = np.asarray(histogram_counts(image))[0]
    assert counts[100] == pytest.approx(0.75, abs=1e-4)
    assert counts[101] == pytest.approx(0.25, abs=1e-4)
    assert np.count_nonzero(counts) == 2


def test_gaussian_kernel_is_a_gaussian_of_one_bin():
    image = np.full((1, 1, 1, 1), 100.3 / 255, np.float32)
    counts = np.asarray(histogram_counts(image, kernel="gaussian"))[0]
    expected = np.exp(-0.5 * (np.arange(96, 105) - 100.3) ** 2)
    assert counts[96:105] == pytest.approx(expected / expected.sum(), abs=1e-4)


def test_range_in_hu():
    hu = np.array([-1000.0, -160.0, 40.0, 240.0, 3000.0], np.float32)
    images = ((hu + 1024) / 4096).reshape(1, 1, 5, 1)
    counts = np.asarray(histogram_counts(images, hist_range=(-160, 240)))[0]
    assert counts[0] == pytest.approx(2, abs=1e-3)
    assert counts[255] == pytest.approx(2, abs=1e-3)
    assert counts[127:129] == pytest.approx([0.5, 0.5], abs=1e-3)


def test_golden_value_of_two_constant_images():
    first = np.full((1, 64, 64, 1), 64 / 255, np.float32)
    second = np.full((1, 64, 64, 1), 70 / 255, np.float32)
    loss = histogram_loss(reference=first, prediction=second)
    assert float(loss) == pytest.approx(0.00781118, abs=1e-8)
    assert float(histogram_loss(reference=first, prediction=first)) == 0.0


def test_loss_is_log_cosh_by_pixel():
    reference, prediction = _noise((2, 10, 12, 2), 1), _noise((2, 10, 12, 2), 2)
    difference = np.asarray(histogram_counts(prediction), np.float64)
    difference -= np.asarray(histogram_counts(reference), np.float64)
    expected = np.log(np.cosh(difference)).mean(axis=1).sum() / (2 * 2 * 10 * 12)
    loss = histogram_loss(reference=reference, prediction=prediction)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"


def test_gradient_between_bin_centres_equals_the_closed_form():
    reference, prediction = _noise((1, 8, 8, 1), 1), _noise((1, 8, 8, 1), 2)
    difference = np.asarray(histogram_counts(prediction))[0]
    slope = np.tanh(difference - np.asarray(histogram_counts(reference))[0])
    below = np.floor(prediction * 255).astype(int)
    expected = (slope[below + 1] - slope[below]) * 255 / 256 / 64
    gradient = np.asarray(_gradient(prediction, reference))
    assert gradient == pytest.approx(expected, abs=1e-6)
    assert np.count_nonzero(gradient) > 32


def test_hard_histogram_has_no_gradient_the_gaussian_has():
    reference, prediction = _noise((1, 8, 8, 1), 1), _noise((1, 8, 8, 1), 2)
    hard = _gradient(prediction, reference, kernel="hard")
    assert hard is None or not np.any(np.asarray(hard))
    assert np.any(np.asarray(_gradient(prediction, reference, kernel="gaussian")))


@pytest.mark.parametrize("options", [{"kernel": "square"}, {"hist_range": (240, -160)}])
def test_unknown_kernel_and_empty_range_are_refused(options):
    with pytest.raises(CtKerasError) as refusal:
        histogram_counts(_noise((1, 4, 4, 1)), **options)
    assert refusal.value.code == "CTK-E000"
