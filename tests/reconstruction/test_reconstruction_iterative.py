"""Iterative reconstruction: transposes, closed forms, what the objective promises."""

import numpy as np
import pytest

from ct_keras.errors import CtKerasError
from ct_keras.phantoms import make_phantom
from ct_keras.reconstruction.iterative import ray_weights, reconstruct_tv, sart
from ct_keras.reconstruction.sinogram_filters import smooth_penalised
from ct_keras.reconstruction.total_variation import prox_tv, total_variation
from ct_keras.simulation.dose import DoseSimulator
from ct_keras.simulation.kernels import KERNELS
from ct_keras.simulation.photons import MU_WATER_MM, attenuation
from ct_keras.simulation.projection import ParallelBeam
from ct_keras.simulation.rays import Rays, hounsfield, scan_rays

SHAPE, SPACING_MM, RADIUS_MM = (64, 64), (2.0, 2.0), 45.0
DISTANCE = np.hypot(*(np.mgrid[:64, :64] - 31.5)) * 2.0
DEEP, OUTSIDE = DISTANCE < 38, (DISTANCE > 52) & (DISTANCE < 60)


@pytest.fixture(scope="module")
def beam():
    return ParallelBeam(SHAPE, SPACING_MM, views=96, bin_mm=2.0)


@pytest.fixture(scope="module")
def disc(beam):
    """The exact line integrals of a disc of water in air."""
    chord = 2 * np.sqrt(np.maximum(RADIUS_MM**2 - beam.position_mm**2, 0))
    integrals = np.repeat(MU_WATER_MM * chord[:, None], 96, axis=1).astype(np.float32)
    return Rays(beam, integrals, np.full_like(integrals, 1e-4))


@pytest.mark.parametrize("bin_mm", [0.9, 1.4])
@pytest.mark.parametrize("aperture_mm", [0.0, 0.64])
def test_adjoint_is_the_transpose(bin_mm, aperture_mm):
    geometry = ParallelBeam((40, 53), (1.1, 0.8), views=24, bin_mm=bin_mm)
    rng = np.random.default_rng(0)
    image = rng.standard_normal((40, 53)).astype(np.float32)
    sinogram = rng.standard_normal((geometry.bins, 24)).astype(np.float32)
    forward = geometry.project(image, aperture_mm=aperture_mm)
    back = geometry.adjoint(sinogram, aperture_mm=aperture_mm)
    scale = np.linalg.norm(forward) * np.linalg.norm(sinogram)
    assert abs(np.vdot(forward, sinogram) - np.vdot(image, back)) < 1e-6 * scale
    assert abs(np.vdot(forward, sinogram)) > 1e-4 * scale


def test_subsets_are_the_views_of_the_whole(beam):
    image = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    whole = beam.project(image)
    parts = [beam.subset(index, 4) for index in range(4)]
    for index, part in enumerate(parts):
        np.testing.assert_allclose(part.project(image), whole[:, index::4], atol=1e-4)
    second = parts[1].subset(2, 3)
    np.testing.assert_allclose(second.project(image), whole[:, 9::12], atol=1e-4)


@pytest.mark.parametrize("momentum", [False, True])
def test_sart_converges_to_a_blob_of_known_projections(beam, momentum):
    sd_mm, x_mm, y_mm = 9.0, 12.0, -7.0
    y = -(np.arange(64) - 31.5)[:, None] * 2.0
    x = (np.arange(64) - 31.5) * 2.0
    blob = np.exp(-((x - x_mm) ** 2 + (y - y_mm) ** 2) / 2 / sd_mm**2)
    angle = np.arange(96) * np.pi / 96
    away = beam.position_mm[:, None] - x_mm * np.cos(angle) - y_mm * np.sin(angle)
    integrals = np.sqrt(2 * np.pi) * sd_mm * np.exp(-(away**2) / 2 / sd_mm**2)
    rays = Rays(beam, integrals.astype(np.float32), np.ones_like(integrals))
    errors = []
    for iterations in (1, 3, 9):
        image = sart(
            rays, np.zeros(SHAPE), iterations=iterations, subsets=8, momentum=momentum
        )
        errors.append(np.sqrt(np.mean((image - blob) ** 2)))
    assert errors[0] > 4 * errors[1] > 8 * errors[2]
    assert errors[2] < 1e-3


@pytest.mark.parametrize("momentum, iterations", [(False, 9), (True, 5)])
def test_sart_keeps_the_scale(disc, momentum, iterations):
    options = {"iterations": iterations, "subsets": 8, "momentum": momentum}
    image = hounsfield(sart(disc, np.zeros(SHAPE), **options))
    assert image[DEEP].mean() == pytest.approx(0, abs=3)
    assert image[OUTSIDE].mean() == pytest.approx(-1000, abs=3)


def test_subsets_that_do_not_divide_the_views_are_refused(disc):
    for subsets in (7, 0, 2.5):
        with pytest.raises(CtKerasError, match="CTK-E000"):
            sart(disc, np.zeros(SHAPE, np.float32), subsets=subsets)


def test_total_variation_of_a_step_and_its_proximal_map():
    # Two plateaus of 10 and 30 columns: each moves by weight over its width.
    step = np.repeat(np.where(np.arange(40) < 10, -50.0, 70.0)[None], 12, axis=0)
    assert total_variation(step) == pytest.approx(120 * 12)
    smooth, _ = prox_tv(step, 60.0, steps=3000)
    expected = np.where(np.arange(40) < 10, -50 + 60 / 10, 70 - 60 / 30)
    np.testing.assert_allclose(smooth, np.repeat(expected[None], 12, 0), atol=0.05)
    flat, _ = prox_tv(step, 5000.0, steps=3000)
    np.testing.assert_allclose(flat, step.mean(), atol=0.05)
    same, _ = prox_tv(step, 0.0)
    np.testing.assert_array_equal(same, step.astype(np.float32))


def test_proximal_map_goes_on_where_it_stopped():
    noisy = np.random.default_rng(3).normal(0, 20, (50, 50)).astype(np.float32)

    def value(image):
        return 0.5 * np.sum((image - noisy) ** 2) + 15 * total_variation(image)

    best, _ = prox_tv(noisy, 15.0, steps=2000)
    once, dual = prox_tv(noisy, 15.0, steps=8)
    for _ in range(4):
        again, dual = prox_tv(noisy, 15.0, dual, steps=8)
    assert value(best) < value(again) < value(once) < value(noisy)
    assert value(again) - value(best) < 0.02 * (value(noisy) - value(best))


@pytest.fixture(scope="module")
def tenth():
    """A phantom patient, scanned at a tenth of a normal dose, counts known."""
    phantom = make_phantom(5, region="abdomen", shape=(1, 128, 128), lesions=False)
    simulator = DoseSimulator(
        (128, 128), phantom.spacing_mm[1:], photons=8e5, views=180
    )
    rays = scan_rays(simulator, phantom.hu[0], 0.1, seed=1)
    return phantom.hu[0], rays, rays.beam.reconstruct(rays.integrals, KERNELS["b30"])


def test_methods_of_the_projection_domain_beat_filtered_back_projection(tenth):
    truth, rays, start = tenth
    smooth = smooth_penalised(rays.integrals, rays.variance, 200.0)
    images = {
        "fbp": start,
        "smoothed": rays.beam.reconstruct(smooth, KERNELS["b30"]),
        "tv": reconstruct_tv(rays, start, strength=0.02, iterations=150).image,
    }
    body = truth > -200
    errors, means = {}, {}
    for name, image in images.items():
        difference = (hounsfield(image) - truth)[body]
        errors[name] = np.sqrt(np.mean(difference**2))
        means[name] = difference.mean()
    assert errors["smoothed"] < 0.75 * errors["fbp"]
    assert errors["tv"] < 0.4 * errors["fbp"]
    assert means == pytest.approx(dict.fromkeys(means, means["fbp"]), abs=4)


def test_objective_is_what_it_says_and_never_rises(tenth):
    _, rays, start = tenth
    strength = 0.01

    def objective(image):
        misfit = rays.beam.project(image, aperture_mm=rays.aperture_mm)
        misfit = misfit.astype(np.float64) - rays.integrals
        fit = 0.5 * np.sum(ray_weights(rays.variance) * misfit**2)
        return fit + strength * total_variation(hounsfield(image))

    result = reconstruct_tv(rays, start, strength=strength, iterations=25)
    course = np.array(result.objective)
    assert len(course) == 26 and np.all(np.diff(course) <= 0)
    assert np.sum(np.diff(course) < 0) > 20
    early = reconstruct_tv(rays, start, strength=strength, iterations=6)
    assert early.objective == pytest.approx(result.objective[:7])
    for index, image in ((0, start), (6, early.image), (25, result.image)):
        assert course[index] == pytest.approx(objective(image), rel=1e-3)
    assert course[25] < 0.8 * course[0]


def test_without_penalty_a_perfect_fit_stays(beam, disc):
    image = attenuation(np.where(DEEP, 50.0, -1000.0))
    rays = Rays(beam, beam.project(image), disc.variance)
    kept = reconstruct_tv(rays, image, strength=0.0, iterations=5).image
    np.testing.assert_allclose(hounsfield(kept), hounsfield(image), atol=0.1)


def test_penalised_reconstruction_keeps_the_scale(disc):
    start = disc.beam.reconstruct(disc.integrals, KERNELS["ramp"])
    image = hounsfield(reconstruct_tv(disc, start, strength=0.01, iterations=80).image)
    assert image[DEEP].mean() == pytest.approx(0, abs=3)
    assert image[OUTSIDE].mean() == pytest.approx(-1000, abs=3)


def test_weights_are_one_over_variance_but_for_the_air():
    variance = 1 / np.geomspace(100, 1e6, 1000).reshape(100, 10)
    weight = ray_weights(variance)
    lowest = np.quantile(1 / variance, 0.1)
    even = 1 / variance <= 20 * lowest
    np.testing.assert_allclose(weight[even], 1 / variance[even], rtol=1e-5)
    np.testing.assert_allclose(weight[~even], 20 * lowest, rtol=1e-5)
    assert 0.3 < even.mean() < 0.6
