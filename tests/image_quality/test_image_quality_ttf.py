"""The task transfer function of discs whose blur is known."""

import math

import cv2
import numpy as np
import pytest

from ct_keras.errors import CtKerasError
from ct_keras.image_quality import find_disc, task_transfer
from ct_keras.phantoms.quality_phantoms import rod_phantom

SPACING_MM, BLUR_MM = 0.5, 0.6
F50 = math.sqrt(math.log(2) / 2) / (math.pi * BLUR_MM)
F10 = math.sqrt(math.log(10) / 2) / (math.pi * BLUR_MM)


def _disc(contrast=100.0, radius_mm=15.0, center=(63.8, 64.3), size=128, fine=8):
    """A Gaussian-blurred disc, drawn 8 times finer than its pixels and sampled."""
    places = [np.arange(size * fine) / fine - place for place in center]
    inside = np.hypot(places[0][:, None], places[1]) <= radius_mm / SPACING_MM
    sigma = BLUR_MM / SPACING_MM * fine
    blurred = cv2.GaussianBlur(inside.astype(np.float64), (0, 0), sigma)
    return 40 + contrast * blurred[::fine, ::fine]


@pytest.mark.parametrize("contrast", [100.0, -35.0])
def test_a_gaussian_blurred_disc_has_the_closed_form(contrast):
    assert pytest.approx((0.3123, 0.5692), abs=1e-4) == (F50, F10)
    found = task_transfer(_disc(contrast), SPACING_MM, radius_mm=15)
    assert (found.f50, found.f10) == pytest.approx((F50, F10), rel=0.002)
    closed = np.exp(-2 * (np.pi * BLUR_MM * found.frequency_mm) ** 2)
    assert np.abs(found.transfer - closed).max() < 0.004
    assert found.transfer[0] == 1
    assert found.contrast_hu == pytest.approx(contrast, abs=0.01)


def test_the_centre_is_found_between_pixels():
    assert find_disc(_disc(-35.0)) == pytest.approx((63.8, 64.3), abs=0.02)


def test_a_wrong_centre_blurs():
    exact, shifted = (
        task_transfer(_disc(), SPACING_MM, radius_mm=15, center=center).f50
        for center in ((63.8, 64.3), (63.8, 66.3))
    )
    assert shifted < 0.8 * exact


def test_noise_is_told_by_the_contrast_to_noise_ratio():
    noise = np.random.default_rng(1).normal(0, 5, (128, 128))
    clear, lost = (
        task_transfer(_disc(c) + noise, SPACING_MM, radius_mm=15, center=(63.8, 64.3))
        for c in (200.0, 20.0)
    )
    assert clear.cnr == pytest.approx(40, rel=0.1)
    assert clear.reliable
    assert lost.cnr == pytest.approx(4, rel=0.15)
    assert not lost.reliable
    assert clear.f50 == pytest.approx(F50, rel=0.06)


def test_a_level_that_is_never_reached_has_no_frequency():
    found = task_transfer(_disc(), SPACING_MM, radius_mm=15)
    assert math.isnan(found.crossing(1e-9))
    assert found.at(np.array([0.0, found.f50, 9.0])) == pytest.approx(
        [1, 0.5, 0], abs=1e-6
    )


@pytest.mark.parametrize(
    ("kernel", "f50", "f10"), [("b30", 0.36, 0.59), ("d45", 0.56, 0.94)]
)
def test_the_rods_of_the_phantom_are_as_sharp_as_their_kernel(kernel, f50, f10):
    phantom = rod_phantom(size=448, spacing_mm=0.4, kernel=kernel)
    for rod in phantom.inserts:
        found = task_transfer(
            phantom.hu, 0.4, radius_mm=rod.diameter_mm / 2, center=phantom.center(rod)
        )
        assert (found.f50, found.f10) == pytest.approx((f50, f10), rel=0.003)
        assert found.contrast_hu == pytest.approx(rod.contrast_hu, abs=2)


def test_a_disc_that_does_not_fit_is_refused():
    for radius_mm in (0.5, 25):
        with pytest.raises(CtKerasError) as refusal:
            task_transfer(_disc(), SPACING_MM, radius_mm=radius_mm, center=(64, 64))
        assert refusal.value.code == "CTK-E041"
    with pytest.raises(CtKerasError):
        find_disc(np.zeros((32, 32)))
