"""Rays of a scan and of a finished image, and what is done with them to HU."""

import numpy as np
import pytest

from ct_keras.errors import CtKerasError
from ct_keras.reconstruction import reprojection
from ct_keras.simulation.dose import DoseSimulator
from ct_keras.simulation.kernels import APERTURE_MM
from ct_keras.simulation.photons import attenuation
from ct_keras.simulation.rays import (
    estimate_rays,
    hounsfield,
    low_dose_rays,
    scan_rays,
)

SHAPE, PIXEL_MM, PHOTONS = (224, 224), 0.9, 5e3
Y, X = (np.mgrid[:224, :224] - 111.5) * PIXEL_MM
WATER = np.where((X / 95) ** 2 + (Y / 45) ** 2 < 1, 20.0, -1000.0).astype(np.float32)
INSIDE = (X / 88) ** 2 + (Y / 38) ** 2 < 1
AIR = (X / 98) ** 2 + (Y / 52) ** 2 > 1


@pytest.fixture(scope="module")
def scanner():
    return DoseSimulator(
        SHAPE,
        (PIXEL_MM, PIXEL_MM),
        photons=PHOTONS,
        noise_free=True,
        electronic_noise=0.0,
        tube_current_modulation=0.0,
    )


@pytest.fixture(scope="module")
def noisy(scanner):
    return scanner.low_dose(WATER, 1.0, seed=1)


def test_hounsfield_undoes_attenuation():
    image = np.array([[-1000.0, 0.0, 1200.0]], np.float32)
    np.testing.assert_allclose(hounsfield(attenuation(image)), image, atol=1e-3)


def test_scanned_rays_have_the_noise_that_they_tell():
    scan = DoseSimulator((64, 64), (4.0, 4.0), photons=4e4, electronic_noise=3.0)
    y, x = (np.mgrid[:64, :64] - 31.5) * 4
    body = np.where(np.hypot(x, y) < 100, 0, -1000).astype(np.float32)
    truth = scan.beam.project(attenuation(body), aperture_mm=APERTURE_MM)
    rays = {dose: scan_rays(scan, body, dose, seed=2) for dose in (1.0, 0.25)}
    for found in rays.values():
        error = (found.integrals - truth) / np.sqrt(found.variance)
        assert error.mean() == pytest.approx(0, abs=0.05)
        assert error.std() == pytest.approx(1, abs=0.02)
    ratio = np.median(rays[0.25].variance / rays[1.0].variance)
    assert ratio == pytest.approx(4, rel=0.05)
    counts = scan.counts(body)
    expected = 1 / counts + 9 / counts**2
    middle = rays[1.0].beam.bins // 2
    assert np.median(rays[1.0].variance[middle]) == pytest.approx(
        np.median(expected[middle]), rel=0.05
    )
    again = scan_rays(scan, body, 0.25, seed=2)
    np.testing.assert_array_equal(again.integrals, rays[0.25].integrals)
    other = scan_rays(scan, body, 0.25, seed=3)
    assert (other.integrals != again.integrals).mean() > 0.9


@pytest.mark.parametrize("electronic_noise", [0.0, 5.0])
def test_rays_of_a_low_dose_belong_to_its_image(scanner, electronic_noise):
    scanner = scanner.tuned(electronic_noise=electronic_noise)
    own = {"dose": 0.25, "seed": 3, "slice_index": 2}
    rays = low_dose_rays(scanner, WATER, **own)
    noise = rays.integrals - scanner.beam.project(attenuation(WATER))
    image = hounsfield(scanner.beam.reconstruct(noise, scanner.kernel)) + 1000
    added = scanner.low_dose(WATER, **own) - WATER
    # Views of noise are filtered as if they were periodic: only borders differ.
    np.testing.assert_allclose(image[INSIDE], added[INSIDE], atol=0.1)
    counts = 0.25 * scanner.counts(WATER)
    expected = 1 / counts + (electronic_noise / counts) ** 2
    assert np.std(noise / np.sqrt(expected)) == pytest.approx(1, abs=0.01)
    # What the noisy readings tell is right on average, not ray by ray.
    assert np.median(rays.variance / expected) == pytest.approx(1, abs=0.02)
    assert (rays.variance != expected).mean() > 0.99


def test_photons_of_a_finished_image_are_found(scanner, noisy):
    rays = estimate_rays(noisy, PIXEL_MM)
    known = scanner.counts(WATER)
    # Of a bin as wide as a pixel, instead of the scanner's 0.4 mm.
    expected = 1 / (known * PIXEL_MM / 0.4)
    middle = rays.beam.bins // 2
    ratio = rays.variance[middle] / expected[scanner.beam.bins // 2]
    assert np.median(ratio) == pytest.approx(1, rel=0.12)
    # Rays along the body count fewer photons than rays across.
    assert rays.variance[middle, 360] > 4 * rays.variance[middle, 0]


def test_a_projected_image_comes_back():
    smooth = np.exp(-(X**2 + (Y - 20) ** 2) / 800).astype(np.float32)
    image = smooth[16:-16, 16:-16] * 500 - 1000
    scan = reprojection._scan(image, PIXEL_MM, None)
    doubled = reprojection._corrected(image, scan, 2 * scan.rays.integrals)
    expected = smooth[16:-16, 16:-16] * 1000 - 1000
    np.testing.assert_allclose(doubled, expected, atol=1.0)


@pytest.mark.parametrize(
    "method",
    [
        lambda image: reprojection.adaptive(image, 0.0, PIXEL_MM),
        lambda image: reprojection.penalised(image, 0.0, 1.0, PIXEL_MM),
        lambda image: reprojection.tv(image, 0.0, 5, PIXEL_MM),
    ],
)
def test_nothing_to_do_changes_nothing(method, noisy):
    np.testing.assert_allclose(method(noisy), noisy, atol=0.05)


METHODS = {
    "sinogram": lambda image, **known: reprojection.penalised(
        image, 200.0, 1.0, PIXEL_MM, **known
    ),
    "adaptive": lambda image, **known: reprojection.adaptive(
        image, 6e3, PIXEL_MM, **known
    ),
    "sart": lambda image, **known: reprojection.sart(image, 2, 16, PIXEL_MM, **known),
    "tv": lambda image, **known: reprojection.tv(image, 0.02, 60, PIXEL_MM, **known),
}


@pytest.mark.parametrize(
    "name, left", [("sinogram", 0.75), ("adaptive", 0.65), ("sart", 0.65), ("tv", 0.3)]
)
def test_noise_goes_down_and_the_scale_stays(name, left, noisy):
    result = METHODS[name](noisy)
    assert result[INSIDE].std() < left * noisy[INSIDE].std()
    assert result[INSIDE].mean() == pytest.approx(noisy[INSIDE].mean(), abs=1)
    assert result[AIR].mean() == pytest.approx(noisy[AIR].mean(), abs=1)
    assert result.dtype == np.float32


@pytest.mark.parametrize(
    "name, left", [("sinogram", 0.75), ("adaptive", 0.65), ("sart", 0.65), ("tv", 0.3)]
)
def test_known_rays_are_used(name, left, scanner, noisy):
    rays = low_dose_rays(scanner, WATER, 1.0, seed=1)
    result = METHODS[name](noisy, rays=rays)
    assert result.shape == noisy.shape
    assert result[INSIDE].std() < left * noisy[INSIDE].std()
    assert result[INSIDE].mean() == pytest.approx(noisy[INSIDE].mean(), abs=1)
    # The image alone would have given something else.
    assert np.abs(result - METHODS[name](noisy))[INSIDE].mean() > 0.5


def test_iterations_fit_the_noise_that_the_image_shows(scanner, noisy):
    """Fitted to the readings, many iterations would bring back what the kernel took."""
    rays = low_dose_rays(scanner, WATER, 1.0, seed=1)
    result = reprojection.sart(noisy, 8, 16, PIXEL_MM, rays=rays)
    assert result[INSIDE].std() < 1.05 * noisy[INSIDE].std()
    nothing = reprojection.tv(noisy, 0.0, 5, PIXEL_MM, rays=rays)
    np.testing.assert_allclose(nothing, noisy, atol=0.05)


@pytest.mark.parametrize("name", ["sinogram", "adaptive"])
def test_known_counts_are_better_than_estimated_ones(name, scanner, noisy):
    rays = low_dose_rays(scanner, WATER, 1.0, seed=1)
    errors = [
        np.sqrt(np.mean((METHODS[name](noisy, **known) - WATER) ** 2))
        for known in ({"rays": rays}, {})
    ]
    assert errors[0] < errors[1]


def test_streaks_of_starved_rays_go_first(noisy):
    """Noise along the thick direction is what the statistics take away."""

    def streaks(image):
        # Streaks run along the rows: they differ from row to row, not along a row.
        middle = (image - WATER)[100:124, 40:184]
        return middle.mean(axis=1).std() / middle.std()

    assert streaks(METHODS["sinogram"](noisy)) < 0.8 * streaks(noisy)


def test_less_noise_less_smoothing(scanner):
    changes = []
    for photons in (PHOTONS, 100 * PHOTONS):
        image = scanner.tuned(photons=photons).low_dose(WATER, 1.0, seed=4)
        noise = (image - WATER)[INSIDE].std()
        changes.append((METHODS["sinogram"](image) - image)[INSIDE].std() / noise)
    assert changes[1] < 0.3 * changes[0]


def test_impossible_pixels_are_refused(noisy):
    for pixel_mm in (0.0, -1.0, float("nan"), 1e3):
        with pytest.raises(CtKerasError, match="CTK-E000"):
            reprojection.sart(noisy, 1, 16, pixel_mm)
