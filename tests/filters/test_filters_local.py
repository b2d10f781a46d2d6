"""Filters against tensorflow-addons, their own formulas and closed forms."""

from pathlib import Path

import numpy as np
import pytest
import pywt
from scipy import ndimage

from ct_keras import filters
from ct_keras.errors import CtKerasError
from ct_keras.filters import wavelet

FIXTURE = Path(__file__).parents[1] / "fixtures/filters/tfa.npz"


def _noisy(shape=(64, 64), sd=20.0, seed=0):
    return np.random.default_rng(seed).normal(40, sd, shape).astype(np.float32)


@pytest.fixture(scope="module")
def addons():
    """Outputs of tensorflow-addons, made by tools/make_tfa_fixtures.py."""
    with np.load(FIXTURE) as stored:
        return dict(stored)


def test_fixture_says_what_made_it(addons):
    assert str(addons["versions"]) == "tensorflow 2.15.1, tensorflow-addons 0.23.0"


@pytest.mark.parametrize("size", [3, 5])
def test_mean_is_that_of_tensorflow_addons(addons, size):
    mine = filters.get("mean", size=size)(addons["image"])
    assert mine == pytest.approx(addons[f"mean_{size}_SYMMETRIC"], abs=1e-3)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.5])
def test_gaussian_is_that_of_tensorflow_addons(addons, sigma):
    mine = filters.get("gaussian", sigma=sigma)(addons["image"])
    assert mine == pytest.approx(addons[f"gaussian_{sigma}_SYMMETRIC"], abs=1e-3)


@pytest.mark.parametrize("size", [3, 5])
def test_median_is_that_of_tensorflow_addons(addons, size):
    mine = filters.get("median", size=size)(addons["image"])
    expected = addons[f"median_{size}_SYMMETRIC"]
    # Borders are repeated here and mirrored there, which is the same for one pixel.
    border = size // 2 - 1
    inner = (slice(border, -border or None),) * 2
    assert np.array_equal(mine[inner], expected[inner])


@pytest.mark.parametrize("name", ["mean_3", "gaussian_1.0", "median_3"])
def test_other_borders_do_not_reach_the_middle(addons, name):
    reflected, symmetric = (addons[f"{name}_{p}"] for p in ("REFLECT", "SYMMETRIC"))
    assert np.array_equal(reflected[4:-4, 4:-4], symmetric[4:-4, 4:-4])
    assert not np.array_equal(reflected, symmetric)


def test_median_of_seven_is_that_of_scipy():
    image = _noisy()
    expected = ndimage.median_filter(image, 7, mode="nearest")
    assert np.array_equal(filters.get("median", size=7)(image), expected)


def test_sigma_filter_keeps_an_edge_and_lowers_noise_as_the_mean_of_its_window():
    image = _noisy((128, 128), 10)
    image[:, 64:] += 500
    filtered = filters.get("sigma", size=5, reach=6, noise_sd=10)(image)
    # At six deviations the window takes part as far as the edge, and never beyond it.
    assert filtered[:, :60].std() == pytest.approx(10 / 5, rel=0.1)
    assert filtered[:, 63] == pytest.approx(40, abs=15)
    assert filtered[:, 64] == pytest.approx(540, abs=15)


def test_bilateral_is_its_formula():
    image = _noisy((20, 22), 15)
    image[:, 11:] += 60
    mine = filters.get("bilateral", sigma=1.2, reach=2, noise_sd=15)(image)
    radius = 3  # two deviations, rounded up
    padded = np.pad(image.astype(float), radius, mode="symmetric")
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = rows**2 + columns**2 <= radius**2
    near = np.exp(-(rows**2 + columns**2) / (2 * 1.2**2)) * disk
    windows = np.lib.stride_tricks.sliding_window_view(padded, near.shape)
    difference = windows - image[:, :, None, None]
    weights = near * np.exp(-(difference**2) / (2 * 30**2))
    expected = (weights * windows).sum((2, 3)) / weights.sum((2, 3))
    assert mine == pytest.approx(expected, abs=0.05)


def test_total_variation_moves_two_plateaus_by_its_closed_form():
    """Minimising |y - x|^2 / 2 + w TV(y) moves plateaus of n pixels by w / n."""
    step = np.where(np.arange(20) < 10, 0.0, 100.0) * np.ones((30, 1))
    chosen = filters.get("tv", weight=2, noise_sd=10, iterations=2000)
    filtered = chosen(step)
    assert filtered[:, :10] == pytest.approx(20 / 10, abs=0.01)
    assert filtered[:, 10:] == pytest.approx(100 - 20 / 10, abs=0.01)


def test_wavelet_without_noise_to_take_away_gives_the_image_back():
    image = _noisy((40, 53))
    for levels in (1, 4):
        found = wavelet.wavelet(image, levels, noise_sd=1e-6)
        assert found.dtype == np.float32
        assert found == pytest.approx(image, abs=1e-3)


def test_wavelet_of_white_noise_and_of_an_edge_beside_a_plain_sum():
    """One level, by its definition: shifts, shrunk bands, and the mean over shifts."""
    image = _noisy((64, 64), 20)
    low = np.array(pywt.Wavelet("sym4").dec_lo)
    high = low[::-1] * (-1.0) ** np.arange(8)

    def correlate(values, taps, sign, axis):
        shifts = (tap * np.roll(values, -sign * k, axis) for k, tap in enumerate(taps))
        return sum(shifts)

    padded = np.pad(image, 32, mode="symmetric").astype(np.float64)
    expected = np.zeros_like(padded)
    for rows in (low, high):
        for columns in (low, high):
            band = correlate(correlate(padded, rows, 1, 0), columns, 1, 1)
            if rows is high or columns is high:
                band = wavelet._shrink(band, 15.0)
            back = correlate(correlate(band, rows, -1, 0), columns, -1, 1)
            expected += back / 4
    found = wavelet.wavelet(image, 1, noise_sd=15.0)
    assert found == pytest.approx(expected[32:-32, 32:-32], abs=2e-3)


def test_wavelet_takes_away_white_noise_and_keeps_an_edge():
    step = np.where(np.arange(128) < 64, -100.0, 100.0) * np.ones((128, 1))
    noisy = (step + _noisy((128, 128), 15) - 40).astype(np.float32)
    error = filters.get("wavelet", noise_sd=15)(noisy) - step
    assert error.std() < 15 / 3
    assert np.abs(error[:, 62:66].mean(axis=0)).max() < 10
    with pytest.raises(CtKerasError, match="wavelet"):
        filters.get("wavelet", levels=0)(noisy)


def test_clahe_equalises_and_is_no_hu():
    from skimage.exposure import equalize_adapthist

    chosen = filters.get("clahe")
    image = _noisy((64, 64), 30)
    image[20:40, 20:40] += 300
    low, high = image.min(), image.max()
    expected = equalize_adapthist(
        (image.astype(float) - low) / (high - low), kernel_size=8, clip_limit=0.01
    )
    assert chosen(image) == pytest.approx(low + (high - low) * expected, abs=0.01)
    assert np.abs(chosen(image) - image).mean() > 10
    assert not chosen.hu_preserving
