"""The lecture's numbers: kernels, the mean-filter table, the slide image."""

import numpy as np
import pytest
from scipy.signal import wiener as scipy_wiener

from ct_keras import filters
from ct_keras.errors import CtKerasError
from ct_keras.filters import lecture, rank, smoothing

PATCH = np.array([[205, 247, 245], [161, 137, 244], [154, 75, 200]], np.float32)
MEAN_TABLE = """
 0 10 20 30 30 30 20 10
 0 20 40 60 60 60 40 20
 0 30 60 90 90 90 60 30
 0 30 50 80 80 90 60 30
 0 30 50 80 80 90 60 30
 0 20 30 50 50 60 40 20
10 20 30 30 30 30 20 10
10 10 10  0  0  0  0  0
"""


@pytest.fixture
def slide():
    """A square of 90 with one hole, and one lone pixel of 90."""
    image = np.zeros((10, 10), np.float32)
    image[2:7, 3:8] = 90
    image[5, 4] = 0
    image[8, 2] = 90
    return image


def test_blur_of_the_lecture():
    assert lecture.correlate(PATCH, lecture.BLUR, valid=True).tolist() == [[175.375]]
    assert filters.get("blur")(PATCH)[1, 1] == 175.375


def test_outline_of_the_lecture():
    assert lecture.correlate(PATCH, lecture.OUTLINE, valid=True).tolist() == [[-435]]
    assert filters.get("outline")(PATCH)[1, 1] == -435


def test_gaussian_weights_add_up_to_159_and_keep_hu():
    assert lecture.GAUSSIAN_WEIGHTS.sum() == 159
    assert lecture.GAUSSIAN_WEIGHTS.sum() / 115 == pytest.approx(1.383, abs=5e-4)
    step = np.where(np.arange(20) < 10, -1000.0, 1000.0) * np.ones((20, 1))
    filtered = filters.get("gaussian_5x5")(step)
    assert filtered[:, :8] == pytest.approx(-1000, abs=1e-3)
    # Of a column sum 17, 34, 42, 37... the halves left and right of the edge.
    columns = lecture.GAUSSIAN_WEIGHTS.sum(axis=0)
    right = columns[3:].sum() / 159
    assert filtered[10, 9] == pytest.approx(-1000 + 2000 * right, abs=1e-2)


def test_gaussian_weights_have_the_shape_of_sigma_1_4():
    distance = np.arange(-2, 3)

    def misfit(sigma):
        profile = np.exp(-(distance**2) / (2 * sigma**2))
        weights = np.outer(profile, profile) / profile.sum() ** 2
        return np.abs(lecture.GAUSSIAN_5X5 - weights).max()

    sigmas = np.arange(0.8, 2.0, 0.01)
    assert sigmas[np.argmin([misfit(s) for s in sigmas])] == pytest.approx(
        1.4, abs=0.05
    )
    assert misfit(1.4) < misfit(1.0) / 5


def test_mean_table_of_the_lecture(slide):
    expected = np.loadtxt(MEAN_TABLE.split("\n"))
    assert expected.shape == (8, 8)
    valid = smoothing.mean(slide, 3, valid=True)
    assert valid == pytest.approx(expected, abs=1e-4)
    assert filters.get("mean", size=3)(slide)[1:-1, 1:-1] == pytest.approx(valid)


def test_median_of_the_lecture(slide):
    expected = np.zeros((8, 8))
    expected[[1, 5], 3:6] = 90
    expected[2:5, 2:7] = 90
    assert np.array_equal(rank.median(slide, 3, valid=True), expected)


def test_sigma_filter_of_the_lecture(slide):
    filtered = filters.get("sigma", size=3, fewest=2, noise_sd=20)(slide)
    expected = slide.copy()
    expected[5, 4] = 90
    expected[8, 2] = 0
    assert np.array_equal(filtered, expected)
    unchanged = filters.get("sigma", size=7, fewest=3, noise_sd=20)(slide)
    assert np.array_equal(unchanged, slide)


def test_wiener_filter_of_the_lecture(slide):
    filtered = filters.get("wiener", size=3)(slide)
    row = [0, 0, 12.6667, 74.8, 76, 80.5, 90, 77.3333, 12.6667, 0]
    assert filtered[5] == pytest.approx(row, abs=1e-3)
    with np.errstate(divide="ignore", invalid="ignore"):  # where nothing varies
        expected = scipy_wiener(slide, 3)
    assert filtered == pytest.approx(expected, abs=1e-3)


def test_wiener_is_that_of_scipy_at_a_given_noise_level():
    image = np.random.default_rng(0).normal(40, 20, (40, 40)).astype(np.float32)
    image[:, 20:] += 200
    mine = filters.get("wiener", size=5, noise_sd=20)(image)
    expected = scipy_wiener(image.astype(float), 5, noise=400)
    assert mine[2:-2, 2:-2] == pytest.approx(expected[2:-2, 2:-2], abs=1e-3)
    half = filters.get("wiener", size=5, noise_sd=10, strength=2)(image)
    assert half == pytest.approx(mine, abs=1e-4)


@pytest.mark.parametrize("size", [0, 4, 2.5, -3])
def test_windows_without_a_middle_are_refused(size):
    for name in ("mean", "median", "sigma", "wiener"):
        with pytest.raises(CtKerasError, match=r"CTK-E000.*odd"):
            filters.get(name, size=size)(np.zeros((9, 9)))
    with pytest.raises(CtKerasError, match="centre pixel"):
        lecture.correlate(np.zeros((9, 9)), np.ones((2, 3)))
