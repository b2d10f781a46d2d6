"""SSIM and PSNR against SciPy, scikit-image and TensorFlow."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ct_keras.metrics import psnr, ssim, ssim_map


@pytest.fixture(scope="module")
def noisy():
    generator = np.random.default_rng(5)
    reference = ndimage.gaussian_filter(generator.normal(0, 900, (61, 75)), 2)
    return reference, reference + generator.normal(0, 30, reference.shape)


@pytest.mark.parametrize("mode", ["gauss-zero", "gauss-reflect"])
def test_filtering_equals_scipy(noisy, mode):
    reference, test = noisy
    options = {
        "gauss-zero": {"mode": "constant", "cval": 0},
        "gauss-reflect": {"mode": "mirror"},
    }[mode]
    distance = np.arange(-5, 6)
    kernel = np.exp(-(distance**2) / (2 * 1.5**2))
    kernel /= kernel.sum()

    def average(values):
        rows = ndimage.correlate1d(values, kernel, axis=0, **options)
        return ndimage.correlate1d(rows, kernel, axis=1, **options)

    x, y = average(reference), average(test)
    variances = average(reference**2) - x**2 + average(test**2) - y**2
    covariance = average(reference * test) - x * y
    c1, c2 = (0.01 * 400) ** 2, (0.03 * 400) ** 2
    expected = (2 * x * y + c1) * (2 * covariance + c2)
    expected /= (x**2 + y**2 + c1) * (variances + c2)
    ours = ssim_map(reference=reference, test=test, data_range=400, definition=mode)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)


def test_scikit_image_agrees(noisy):
    reference, test = noisy
    pair = {"reference": reference, "test": test, "data_range": 2000.0}
    assert psnr(**pair) == pytest.approx(
        peak_signal_noise_ratio(reference, test, data_range=2000), abs=1e-10
    )
    gauss = structural_similarity(
        reference,
        test,
        data_range=2000,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(**pair, definition="gauss-valid") == pytest.approx(gauss, abs=1e-10)
    uniform = structural_similarity(reference, test, data_range=2000)
    assert ssim(**pair, definition="uniform7") == pytest.approx(uniform, abs=1e-10)


def test_tensorflow_agrees_with_scikit_image_and_us(noisy):
    tf = pytest.importorskip("tensorflow")
    reference, test = noisy
    theirs = tf.image.ssim(
        reference[None, ..., None].astype(np.float32),
        test[None, ..., None].astype(np.float32),
        max_val=2000.0,
    )
    ours = ssim(
        reference=reference, test=test, data_range=2000, definition="gauss-valid"
    )
    assert float(theirs[0]) == pytest.approx(ours, abs=1e-5)
    decibels = tf.image.psnr(reference[..., None], test[..., None], max_val=2000.0)
    assert float(decibels) == pytest.approx(
        psnr(reference=reference, test=test, data_range=2000), abs=1e-4
    )
