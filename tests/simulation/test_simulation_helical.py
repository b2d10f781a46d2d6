"""Helical scans: widths known from the literature, profiles as in closed form."""

import numpy as np
import pytest

from ct_keras.errors import CtKerasError
from ct_keras.simulation import (
    fbp,
    helical_path,
    helical_scan,
    radon,
    slice_profile,
    slice_width_mm,
)

SPACING_MM = (1.0, 2.0, 2.0)
EDGE = 48


def cylinder(slices: int, radius_mm: float = 30, centre_mm=(0, 0)) -> np.ndarray:
    """HU of water in air, the same in all slices."""
    rows, columns = (np.indices((EDGE, EDGE)) - (EDGE - 1) / 2) * SPACING_MM[1]
    inside = np.hypot(rows - centre_mm[0], columns - centre_mm[1]) < radius_mm
    return np.broadcast_to(np.where(inside, 0.0, -1000.0), (slices, EDGE, EDGE)).copy()


@pytest.mark.parametrize(
    ("pitch", "interpolation", "width"),
    [(1, "180LI", 1.0), (2, "180LI", 1.268), (1, "360LI", 1.268), (2, "360LI", 2.25)],
)
def test_widths_are_those_of_the_literature(pitch, interpolation, width):
    """Kalender: 1.0, 1.3, 1.3 and 2.2 times the collimation."""
    known = {"pitch": pitch, "collimation_mm": 4.0, "interpolation": interpolation}
    assert slice_width_mm(**known) / 4 == pytest.approx(width, abs=2e-3)
    offset_mm = np.linspace(-20, 20, 40_001)
    profile = slice_profile(offset_mm, **known)
    assert np.trapezoid(profile, offset_mm) == pytest.approx(1, abs=1e-4)
    assert profile.min() >= 0 and profile.argmax() == 20_000


@pytest.mark.parametrize("pitch", [1.5, 2.5])
def test_a_thin_disc_shows_the_profile(pitch):
    known = {"pitch": pitch, "collimation_mm": 4.0, "views": 90, "kernel": "b30"}
    hu = cylinder(25)
    hu[12] = np.where(hu[12] == 0, 500, hu[12])
    centre = (slice(None), slice(EDGE // 2 - 1, EDGE // 2 + 1), slice(23, 25))
    # All starts together see every height alike, as the profile assumes.
    scans = [
        helical_scan(hu, SPACING_MM, start=start, **known)[centre]
        for start in (0.0, 0.125, 0.25, 0.375)
    ]
    plain = helical_scan(cylinder(1), SPACING_MM, **known)[centre].mean()
    seen = (np.mean(scans, axis=(0, 2, 3)) - plain) / 500
    heights_mm = np.arange(25.0) - 12
    expected = slice_profile(heights_mm, pitch=pitch, collimation_mm=4.0)
    assert np.abs(seen - expected).max() < 0.006
    assert seen.sum() == pytest.approx(1, abs=0.02)


def test_without_change_along_z_a_helix_is_a_circle():
    hu = cylinder(4)
    scanned = helical_scan(
        hu, SPACING_MM, pitch=2.5, collimation_mm=3.0, views=90, kernel="b30"
    )
    sinogram = radon(hu[0] + 1000, spacing_mm=(2, 2), views=90, bin_mm=0.4)
    plain = fbp(sinogram, hu[0].shape, spacing_mm=(2, 2), bin_mm=0.4, kernel="b30")
    for plane in scanned:
        assert np.abs(plane - (plain - 1000)).max() < 0.5


def test_a_larger_pitch_gives_stronger_artefacts():
    hu = np.stack([cylinder(1, 12, (0, 1.5 * z - 18))[0] for z in range(25)])
    far = cylinder(1, 40)[0] == -1000
    streaks = {}
    for pitch in (1.0, 1.5, 2.5):
        scanned = helical_scan(
            hu, SPACING_MM, pitch=pitch, collimation_mm=4.0, views=90, kernel="b30"
        )
        straight = helical_scan(
            hu, SPACING_MM, pitch=0.01, collimation_mm=4.0, views=90, kernel="b30"
        )
        streaks[pitch] = np.std((scanned - straight)[10:15][:, far])
    assert streaks[1.0] < streaks[1.5] < streaks[2.5]


def test_the_source_moves_by_the_pitch():
    path = helical_path(2.5, 4.0, rotations=2, views=100)
    assert path.shape == (201, 3)
    assert np.allclose(np.hypot(path[:, 0], path[:, 1]), 570)
    assert path[100, 2] - path[0, 2] == pytest.approx(10)


def test_what_no_scanner_can_do_is_refused():
    for wrong in ({"pitch": 0}, {"collimation_mm": -1}, {"interpolation": "90LI"}):
        with pytest.raises(CtKerasError, match="CTK-E000"):
            slice_width_mm(**{"pitch": 1, "collimation_mm": 1} | wrong)
