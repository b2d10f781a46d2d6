"""Smoothing of sinograms: closed forms, the equations solved in full, turned views."""

import numpy as np
import pytest

from ct_keras.reconstruction.sinogram_filters import smooth_adaptive, smooth_penalised

BINS, VIEWS = 41, 24


def _noise(shape=(BINS, VIEWS), sd=1.0, seed=0):
    return np.random.default_rng(seed).normal(0, sd, shape).astype(np.float32)


@pytest.mark.parametrize("smooth", [smooth_adaptive, smooth_penalised])
def test_no_weight_gives_the_sinogram_back(smooth):
    sinogram, variance = _noise(), np.full((BINS, VIEWS), 0.01, np.float32)
    np.testing.assert_array_equal(smooth(sinogram, variance, 0), sinogram)


@pytest.mark.parametrize("smooth", [smooth_adaptive, smooth_penalised])
def test_a_constant_stays(smooth):
    variance = np.exp(_noise(seed=1))
    flat = np.full((BINS, VIEWS), 3.7, np.float32)
    np.testing.assert_allclose(smooth(flat, variance, 10.0), flat, rtol=1e-5)


@pytest.mark.parametrize("waves, beta", [(1, 50.0), (7, 50.0), (20, 400.0)])
def test_penalty_damps_waves_by_their_closed_form(waves, beta):
    # A half-sample cosine is an eigenvector of differences without neighbours outside.
    wave = np.cos(np.pi * waves * (np.arange(BINS) + 0.5) / BINS)
    sinogram = np.repeat(wave[:, None], VIEWS, axis=1).astype(np.float32)
    variance = np.full_like(sinogram, 0.02)
    smooth = smooth_penalised(sinogram, variance, beta, view_share=0.0)
    damping = 1 / (1 + beta * 0.02 * (2 - 2 * np.cos(np.pi * waves / BINS)))
    np.testing.assert_allclose(smooth, damping * sinogram, atol=2e-4)


@pytest.mark.parametrize("bins", [8, 9])
def test_penalised_solves_the_equations(bins):
    views, beta, share = 6, 30.0, 0.4
    rng = np.random.default_rng(2)
    sinogram = rng.standard_normal((bins, views)).astype(np.float32)
    variance = rng.uniform(0.005, 0.5, (bins, views)).astype(np.float32)
    place = np.arange(bins * views).reshape(bins, views)
    matrix = np.diag(1 / variance.astype(np.float64).ravel())
    pairs = [(a, b, 1) for a, b in zip(place[:-1].flat, place[1:].flat, strict=True)]
    for view in range(views):
        for row in range(bins):
            # Half a turn on, a ray comes back on the other side of the middle bin.
            opposite = (2 * (bins // 2) - row) % bins
            after = place[row, view + 1] if view + 1 < views else place[opposite, 0]
            pairs.append((place[row, view], after, share))
    for a, b, weight in pairs:
        matrix[a, a] += beta * weight
        matrix[b, b] += beta * weight
        matrix[a, b] -= beta * weight
        matrix[b, a] -= beta * weight
    expected = np.linalg.solve(matrix, (sinogram / variance).ravel())
    smooth = smooth_penalised(sinogram, variance, beta, view_share=share)
    np.testing.assert_allclose(smooth.ravel(), expected, atol=1e-3)


def test_rays_of_few_photons_are_smoothed_more():
    noise = _noise((200, 100))
    variance = np.ones_like(noise)
    variance[100:] = 1e-3
    smooth = smooth_penalised(noise, variance, 2.0)
    left = [half.std() for half in (smooth[10:90], smooth[110:190])]
    assert left[0] < 0.5
    assert left[1] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("sd", [0.7, 1.0, 2.0])
def test_adaptive_gathers_as_many_photons_as_asked_for(sd):
    taps = np.exp(-0.5 * (np.arange(-20, 21) / sd) ** 2)
    rays = (taps.sum() ** 2 / (taps**2).sum()) ** 2
    noise = _noise((400, 300), 0.1)  # 100 photons each
    smooth = smooth_adaptive(noise, np.full_like(noise, 0.01), 100 * rays)
    assert 1 / smooth[20:-20].var() == pytest.approx(100 * rays, rel=0.06)


def test_adaptive_leaves_rays_alone_that_counted_enough():
    noise = _noise((60, 40), 0.1)
    variance = np.full_like(noise, 1 / 50)
    variance[30:] = 1 / 500
    smooth = smooth_adaptive(noise, variance, 400)
    # Away from the first and last views, whose neighbours are mirrored.
    np.testing.assert_array_equal(smooth[36:, 8:-8], noise[36:, 8:-8])
    assert smooth[5:25].std() < 0.5 * noise[5:25].std()


@pytest.mark.parametrize(
    "smooth, weight", [(smooth_adaptive, 300.0), (smooth_penalised, 40.0)]
)
def test_the_first_view_is_no_border(smooth, weight):
    """A scanner that starts elsewhere must give the same sinogram, turned."""

    def turned(sinogram):
        return np.concatenate([sinogram[:, 9:], sinogram[::-1, :9]], axis=1)

    sinogram, variance = _noise(), 0.01 * np.exp(_noise(seed=3))
    result = smooth(turned(sinogram), turned(variance), weight)
    expected = turned(smooth(sinogram, variance, weight))
    np.testing.assert_allclose(result, expected, atol=2e-4)
    assert np.abs(expected - turned(sinogram)).max() > 0.5
