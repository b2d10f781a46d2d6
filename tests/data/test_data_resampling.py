"""Resampling along three axes: ramps, means and shapes that are known."""

import numpy as np
import pytest

from ct_keras.data import resample_volume
from ct_keras.errors import CtKerasError


def test_all_axes_get_one_spacing():
    hu = np.random.default_rng(0).normal(0, 50, (6, 20, 24))
    assert resample_volume(hu, (5.0, 0.8, 0.5), 1.0).shape == (30, 16, 12)
    assert resample_volume(hu, (5.0, 0.8, 0.5), (2.5, 1.6, 0.5)).shape == (12, 10, 24)
    assert np.array_equal(resample_volume(hu, (1, 1, 1), 1.0), hu.astype(np.float32))


@pytest.mark.parametrize("target_mm", [0.5, 0.8, 2.0, 3.0])
def test_a_ramp_stays_a_ramp(target_mm):
    spacing_mm = np.array([1.0, 1.0, 1.0])
    places = np.indices((24, 24, 24)) - 11.5
    hu = np.tensordot([2.0, -3.0, 5.0], places, 1)
    found = resample_volume(hu, spacing_mm, target_mm)
    new = np.indices(found.shape) - (np.array(found.shape) - 1)[:, None, None, None] / 2
    expected = np.tensordot([2.0, -3.0, 5.0], new * target_mm, 1)
    inside = (slice(2, -2),) * 3
    assert found[inside] == pytest.approx(expected[inside], abs=2e-3)


def test_coarser_voxels_are_means():
    hu = np.random.default_rng(1).normal(0, 100, (8, 8, 8))
    found = resample_volume(hu, (1, 1, 1), 2.0)
    expected = hu.reshape(4, 2, 4, 2, 4, 2).mean(axis=(1, 3, 5))
    assert found == pytest.approx(expected, abs=1e-3)


def test_unknown_spacings_are_refused():
    volume = np.zeros((4, 8, 8))
    for spacing_mm, target_mm in (((np.nan, 1, 1), 1), ((1, 1, 1), 0)):
        with pytest.raises(CtKerasError, match="CTK-E037"):
            resample_volume(volume, spacing_mm, target_mm)
    with pytest.raises(CtKerasError, match="CTK-E037"):
        resample_volume(volume[0], (1, 1, 1), 1)
