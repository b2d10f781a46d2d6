"""Plain noise: its moments in closed form."""

import numpy as np
import pytest

from ct_keras.errors import CtKerasError
from ct_keras.simulation.noise import add_gaussian_noise, add_uniform_noise

TISSUE = np.full((300, 300), 40.0, np.float32)


def test_gaussian_moments_and_seed():
    noisy = add_gaussian_noise(TISSUE, 20.0, seed=3)
    assert noisy.dtype == np.float32
    assert noisy.mean() == pytest.approx(40, abs=0.3)
    assert noisy.std() == pytest.approx(20, rel=0.01)
    np.testing.assert_array_equal(noisy, add_gaussian_noise(TISSUE, 20.0, seed=3))
    assert not np.array_equal(noisy, add_gaussian_noise(TISSUE, 20.0, seed=4))
    np.testing.assert_array_equal(add_gaussian_noise(TISSUE, 0.0), TISSUE)


def test_multiplicative_uniform_is_that_of_the_report():
    units = (add_uniform_noise(TISSUE) + 1024) / 4096
    clean = (40 + 1024) / 4096
    assert units.mean() / clean == pytest.approx(1.25, rel=0.01)
    assert units.std() / clean == pytest.approx(2.5 / np.sqrt(12), rel=0.01)
    assert units.min() >= 0 and units.max() <= 2.5 * clean * (1 + 1e-6)
    air = add_uniform_noise(np.full(9, -1024.0))
    np.testing.assert_array_equal(air, -1024)


def test_additive_uniform_is_in_hu():
    noisy = add_uniform_noise(TISSUE, 30.0, mode="additive", seed=1)
    assert noisy.mean() == pytest.approx(40, abs=0.3)
    assert noisy.std() == pytest.approx(60 / np.sqrt(12), rel=0.01)
    assert noisy.min() >= 10 and noisy.max() <= 70
    shifted = add_uniform_noise(TISSUE, 10.0, low=0.0, mode="additive")
    assert shifted.min() >= 40 and shifted.max() <= 50


@pytest.mark.parametrize(
    "call",
    [
        lambda: add_gaussian_noise(TISSUE, -1.0),
        lambda: add_gaussian_noise(TISSUE, float("nan")),
        lambda: add_uniform_noise(TISSUE, mode="divisive"),
        lambda: add_uniform_noise(TISSUE, 1.0, low=2.0),
    ],
)
def test_impossible_noise_is_refused(call):
    with pytest.raises(CtKerasError, match="CTK-E000"):
        call()
