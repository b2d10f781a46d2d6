"""Classical filters: closed forms, other implementations, and what all must keep."""

import numpy as np
import pytest
from scipy import ndimage

from ct_keras import filters
from ct_keras.errors import CtKerasError


def _noisy(shape=(64, 64), sd=20.0, seed=0):
    return np.random.default_rng(seed).normal(40, sd, shape).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_gaussian_is_that_of_scipy(sigma):
    image = _noisy()
    expected = ndimage.gaussian_filter(image, sigma, mode="reflect", truncate=4)
    mine = filters.get("gaussian", sigma=sigma)(image)
    assert mine == pytest.approx(expected, abs=1e-3)


def test_gaussian_lowers_white_noise_by_its_closed_form():
    sigma = 1.5
    smooth = filters.get("gaussian", sigma=sigma)(_noisy((512, 512), 20))
    assert smooth.std() == pytest.approx(20 / (2 * np.sqrt(np.pi) * sigma), rel=0.03)


@pytest.mark.parametrize("size", [3, 5])
def test_median_is_that_of_scipy(size):
    image = _noisy()
    expected = ndimage.median_filter(image, size, mode="nearest")
    assert np.array_equal(filters.get("median", size=size)(image), expected)


def test_nlm_scales_with_the_noise_it_finds():
    """Ten times the contrast and noise must give ten times the result."""
    image = _noisy((96, 96), 20) - 40
    once = filters.get("nlm")(image)
    twice = filters.get("nlm")(image * 2)
    assert once.std() < image.std() / 2
    assert twice.std() == pytest.approx(2 * once.std(), rel=0.1)


def test_nlm_keeps_an_edge_better_than_a_gaussian_of_equal_smoothing():
    step = np.where(np.arange(96) < 48, -100, 100) * np.ones((96, 1))
    noisy = (step + _noisy((96, 96), 15) - 40).astype(np.float32)
    errors = {
        name: np.abs(filters.get(name)(noisy) - step)[:, 46:50].mean()
        for name in ("nlm", "gaussian")
    }
    assert errors["nlm"] < errors["gaussian"] / 2


@pytest.mark.parametrize("name", filters.list_filters())
def test_a_constant_image_is_unchanged(name):
    image = np.full((40, 50), 55, np.float32)
    assert filters.get(name)(image) == pytest.approx(image, abs=1e-3)


@pytest.mark.parametrize("name", filters.list_filters())
def test_padding_is_kept_and_does_not_bleed(name):
    image = _noisy((60, 60), 5)
    image[:10] = -3024
    filtered = filters.get(name)(image)
    assert np.array_equal(filtered[:10], image[:10])
    assert filtered[10:].min() > -1024


@pytest.mark.parametrize("name", filters.list_filters())
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (2, 20, 30)])
def test_any_size_and_volumes_slice_by_slice(name, shape):
    image = _noisy(shape)
    filtered = filters.get(name)(image)
    assert filtered.dtype == np.float32
    assert filtered.shape == shape
    if image.ndim == 3:
        assert np.array_equal(filtered[1], filters.get(name)(image[1]))


def test_noise_sd_is_that_of_the_noise():
    from ct_keras.filters.smoothing import noise_sd

    assert noise_sd(_noisy((256, 256), 17)) == pytest.approx(17, rel=0.1)
    lung = _noisy((256, 256), 17) - 800
    assert noise_sd(lung) == pytest.approx(17, rel=0.1)


def test_tuning_finds_the_grid_value_with_the_least_error():
    from types import SimpleNamespace

    clean = ndimage.gaussian_filter(_noisy((128, 128), 900, 1), 6)
    low = clean + _noisy((128, 128), 20, 2) - 40
    pairs = [SimpleNamespace(low_hu=low.astype(np.float32), full_hu=clean)]
    tuned = filters.tune(filters.get("gaussian"), pairs)
    errors = {
        sigma: np.sqrt(
            np.mean((filters.get("gaussian", sigma=sigma)(low) - clean) ** 2)
        )
        for sigma in tuned.grid["sigma"]
    }
    assert tuned.parameters["sigma"] == min(errors, key=errors.get)
    assert len(set(errors.values())) == len(errors)


def test_what_does_not_exist_is_refused():
    for call in (
        lambda: filters.get("bm4d"),
        lambda: filters.get("median", sigma=1),
        lambda: filters.get("median")(np.zeros(4)),
        lambda: filters.tune(filters.get("median"), []),
    ):
        with pytest.raises(CtKerasError):
            call()
