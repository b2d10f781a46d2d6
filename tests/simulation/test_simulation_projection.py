"""Projection and reconstruction against scikit-image, closed forms and plain sums."""

import numpy as np
import pytest
from skimage.data import shepp_logan_phantom
from skimage.filters import gaussian
from skimage.transform import iradon, resize
from skimage.transform import radon as skimage_radon

from ct_keras.simulation.kernels import KERNELS
from ct_keras.simulation.polar import PolarGrid
from ct_keras.simulation.projection import ParallelBeam, fbp, radon

VIEWS = 180
SIZE = 129  # odd: scikit-image turns about the pixel SIZE // 2


@pytest.fixture(scope="module")
def head():
    image = resize(shepp_logan_phantom(), (SIZE, SIZE), anti_aliasing=True)
    image[30:40, 50:58] += 0.5  # no symmetry left
    return gaussian(image, 1.0).astype(np.float32)


def _as_skimage(sinogram, like):
    start = sinogram.shape[0] // 2 - like.shape[0] // 2
    return sinogram[start : start + like.shape[0]]


def test_projection_matches_scikit_image(head):
    theirs = skimage_radon(head, np.arange(VIEWS) * 180 / VIEWS, circle=False)
    ours = _as_skimage(radon(head, views=VIEWS), theirs)
    assert np.sqrt(np.mean((ours - theirs) ** 2)) < 4e-3 * theirs.std()


def test_reconstruction_matches_scikit_image_and_the_image(head):
    angles = np.arange(VIEWS) * 180 / VIEWS
    theirs = skimage_radon(head, angles, circle=False)
    reference = iradon(theirs, angles, circle=False, output_size=SIZE)
    ours = fbp(theirs, head.shape)
    assert np.sqrt(np.mean((ours - reference) ** 2)) < 0.02
    assert np.sqrt(np.mean((ours - head) ** 2)) < np.sqrt(
        np.mean((reference - head) ** 2)
    )
    assert ours.mean() == pytest.approx(head.mean(), rel=1e-3)


@pytest.mark.parametrize(
    "shape, spacing_mm", [((90, 121), (1.3, 0.8)), ((64, 64), (2, 2))]
)
def test_disc_has_the_projection_of_a_disc(shape, spacing_mm):
    radius_mm, centre = 30.0, (9.0, -7.0)
    y = -(np.arange(shape[0]) - (shape[0] - 1) / 2)[:, None] * spacing_mm[0]
    x = (np.arange(shape[1]) - (shape[1] - 1) / 2) * spacing_mm[1]
    fine = np.linspace(-0.5, 0.5, 11)
    disc = np.mean(
        [
            np.hypot(
                x + a * spacing_mm[1] - centre[0], y + b * spacing_mm[0] - centre[1]
            )
            < radius_mm
            for a in fine
            for b in fine
        ],
        axis=0,
    )
    beam = ParallelBeam(shape, spacing_mm, views=60, bin_mm=1.0)
    angle = np.arange(60) * np.pi / 60
    middle = centre[0] * np.cos(angle) + centre[1] * np.sin(angle)
    inside = radius_mm**2 - (beam.position_mm[:, None] - middle) ** 2
    chord = 2 * np.sqrt(np.maximum(inside, 0))
    error = beam.project(disc.astype(np.float32)) - chord
    assert np.sqrt(np.mean(error**2)) < 0.01 * 60
    back = beam.reconstruct(chord, KERNELS["ramp"])
    deep = np.hypot(x - centre[0], y - centre[1]) < radius_mm - 6
    assert back[deep].mean() == pytest.approx(1, abs=3e-3)


def test_polar_transform_equals_the_sum():
    rng = np.random.default_rng(0)
    shape, spacing_mm, frequencies, views, step = (12, 17), (1.2, 0.7), 19, 7, 0.04
    grid = PolarGrid(shape, spacing_mm, frequencies=frequencies, step=step, views=views)
    y = -(np.arange(12) - 5.5)[:, None] * 1.2
    x = (np.arange(17) - 8) * 0.7
    radius = np.arange(frequencies)[:, None] * step
    angle = np.arange(views) * np.pi / views
    u, v = radius * np.cos(angle), radius * np.sin(angle)
    turns = u[:, :, None, None] * x + v[:, :, None, None] * y
    image = rng.standard_normal(shape).astype(np.float32)
    expected = np.einsum("yx,kvyx->kv", image, np.exp(-2j * np.pi * turns))
    expected *= 0.84 * np.sinc(u * 0.7) * np.sinc(v * 1.2)
    assert np.abs(grid.to_polar(image) - expected).max() < 1e-3 * expected.std()
    polar = expected.astype(np.complex64)
    expected = np.einsum("kv,kvyx->yx", polar, np.exp(2j * np.pi * turns)).real
    first, second = grid.to_images([polar, 2 * polar])
    assert np.abs(first - expected).max() < 1e-3 * expected.std()
    np.testing.assert_allclose(second, 2 * first, rtol=1e-4, atol=1e-4)


def test_noise_variance_is_that_of_reconstructed_noise():
    beam = ParallelBeam((48, 40), (2.0, 2.5), views=90, bin_mm=0.8)
    rng = np.random.default_rng(1)
    profile = np.exp(-((beam.position_mm / 30) ** 2))[:, None]
    variance = np.repeat(profile, 90, axis=1) * (1 + np.arange(90) / 45)
    spread = np.sqrt(variance)
    draws = [
        (rng.standard_normal(variance.shape) * spread).astype(np.float32)
        for _ in range(300)
    ]
    images = np.stack(beam.reconstruct_noise(draws, KERNELS["b30"]))
    expected = beam.noise_variance(variance, KERNELS["b30"])
    assert images.var(axis=0).mean() == pytest.approx(expected.mean(), rel=0.02)
    ratio = images.var(axis=0) / expected
    assert ratio.std() == pytest.approx(np.sqrt(2 / 300), rel=0.15)


def test_noise_is_filtered_as_images_are():
    beam = ParallelBeam((64, 64), (1.0, 1.0), views=64, bin_mm=0.5)
    noise = np.random.default_rng(0).standard_normal((beam.bins, 64)).astype(np.float32)
    quick = beam.reconstruct_noise([noise], KERNELS["b30"])[0]
    padded = beam.reconstruct(noise, KERNELS["b30"])
    assert np.corrcoef(quick.ravel(), padded.ravel())[0, 1] > 0.995
    assert quick.std() == pytest.approx(padded.std(), rel=0.01)
