"""Phantoms of known image quality, and their scans."""

import numpy as np
import pytest

from ct_keras.errors import CtKerasError
from ct_keras.phantoms.quality_phantoms import (
    DISCS,
    ROD_HU,
    PhantomScanner,
    low_contrast_phantom,
    rod_phantom,
    water_phantom,
)

GRID = {"size": 160, "spacing_mm": 1.0}


@pytest.fixture(scope="module")
def water():
    return water_phantom(**GRID)


@pytest.fixture(scope="module")
def scanner(water):
    return PhantomScanner(water, noise_hu=12.0, seed=3)


def _core(image):
    return image[60:100, 60:100]


def test_water_is_zero_and_air_is_minus_a_thousand(water):
    assert _core(water.hu) == pytest.approx(np.zeros((40, 40)), abs=0.5)
    assert water.hu[0] == pytest.approx(np.full(160, -1000.0), abs=1)
    assert water.diameter_mm == 140
    area = (water.hu.astype(np.float64) + 1000).sum() / 1000
    assert area == pytest.approx(np.pi * 70**2, rel=1e-4)


def test_rods_hold_their_hu_at_their_places():
    phantom = rod_phantom(**GRID)
    for rod in phantom.inserts:
        row, column = (round(place) for place in phantom.center(rod))
        inside = phantom.hu[row - 3 : row + 4, column - 3 : column + 4]
        assert inside.mean() == pytest.approx(ROD_HU[rod.name], abs=3)
    assert _core(phantom.hu)[15:25, 15:25] == pytest.approx(np.zeros((10, 10)), abs=1)


def test_a_disc_adds_its_contrast_times_its_area(water):
    for contrast, diameter in DISCS:
        phantom = low_contrast_phantom(**GRID, discs=[(contrast, diameter)])
        added = (phantom.hu.astype(np.float64) - water.hu).sum()
        expected = 2 * contrast * np.pi * diameter**2 / 4
        assert added == pytest.approx(expected, rel=0.01)


def test_every_disc_appears_twice_at_one_distance_and_between_pixels_alike():
    phantom = low_contrast_phantom()
    names = [insert.name for insert in phantom.inserts]
    assert names.count("14 HU 3 mm") == 2
    distances = [np.hypot(*insert.offset_mm) for insert in phantom.inserts]
    assert distances == pytest.approx([39.2] * 8, abs=1)
    centers = np.array([phantom.center(insert) for insert in phantom.inserts])
    assert centers % 1 == pytest.approx(np.full((8, 2), 0.5), abs=1e-6)


def test_a_sharper_kernel_makes_a_steeper_edge():
    edges = [
        np.abs(np.diff(water_phantom(**GRID, kernel=kernel).hu[80])).max()
        for kernel in ("b30", "d45")
    ]
    assert edges[1] > 1.15 * edges[0]


def test_noise_has_the_strength_that_was_asked_for(water, scanner):
    scans = np.array([scanner.scan(water, [1.0, 0.25], repeat=i) for i in range(24)])
    full, quarter = scans[:, 0], scans[:, 1]
    middle = full[:, 75:85, 75:85]
    assert middle.std(axis=0, ddof=1).mean() == pytest.approx(12, rel=0.06)
    ratio = _core(quarter[0]).std() / _core(full[0]).std()
    assert ratio == pytest.approx(2, rel=0.12)
    assert _core(quarter.mean(axis=0)).mean() == pytest.approx(0, abs=1.5)
    assert full.min() >= -1024


def test_scans_are_drawn_from_seed_and_repeat(water, scanner):
    one, again, other = (
        scanner.scan(water, [0.5], repeat=repeat)[0] for repeat in (1, 1, 2)
    )
    assert np.array_equal(one, again)
    shared = np.corrcoef(_core(one).ravel(), _core(other).ravel())[0, 1]
    assert abs(shared) < 0.15
    reseeded = PhantomScanner(water, noise_hu=12.0, seed=4).scan(water, [0.5], repeat=1)
    assert not np.array_equal(one, reseeded[0])


@pytest.mark.parametrize(
    "call",
    [
        lambda: water_phantom(size=32),
        lambda: rod_phantom(spacing_mm=0.0),
        lambda: low_contrast_phantom(spacing_mm=float("nan")),
        lambda: water_phantom(kernel="b99"),
        lambda: PhantomScanner(water_phantom(size=64), noise_hu=0.0),
    ],
)
def test_impossible_phantoms_are_refused(call):
    with pytest.raises(CtKerasError) as refusal:
        call()
    assert refusal.value.code == "CTK-E000"
