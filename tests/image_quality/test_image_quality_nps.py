"""Noise power spectra against their closed forms, and simple regions."""

import numpy as np
import pytest

from ct_keras.errors import CtKerasError
from ct_keras.image_quality import (
    cnr,
    disc_mask,
    mean_and_sd,
    mean_radial_frequency,
    nnps_difference,
    noise_of_repeats,
    noise_power_spectrum,
    peak_frequency,
    squares,
)


def _white(count, size, sd=20.0, seed=0):
    return np.random.default_rng(seed).normal(0, sd, (count, size, size))


def _filtered(regions, spacing_mm, response):
    step = np.fft.fftfreq(regions.shape[-1], spacing_mm)
    gain = response(np.hypot(step[:, None], step))
    return np.fft.ifft2(np.fft.fft2(regions) * gain).real


def test_the_integral_is_the_variance():
    regions = _white(5, 24)[:, :, :20] + 300
    found = noise_power_spectrum(regions, (0.5, 0.8), trend="mean")
    assert found.cell == pytest.approx(1 / (24 * 0.5 * 20 * 0.8), rel=1e-12)
    expected = np.mean([region.var() for region in regions])
    assert found.variance == pytest.approx(expected, rel=1e-12)


def test_white_noise_is_variance_times_pixel_area():
    found = noise_power_spectrum(_white(400, 64), (0.5, 0.7), trend="none")
    assert found.power.mean() / (400 * 0.5 * 0.7) == pytest.approx(1, abs=0.005)
    _, radial = found.radial()
    assert radial[2:] == pytest.approx(np.full(radial.size - 2, 140.0), rel=0.05)


def test_a_trend_takes_its_share_of_white_noise():
    regions = _white(6000, 8)
    for trend, parameters in (("mean", 1), ("quadratic", 6)):
        found = noise_power_spectrum(regions, (1, 1), trend=trend)
        assert found.variance / 400 == pytest.approx(1 - parameters / 64, abs=0.007)


def test_the_quadratic_trend_takes_cupping_and_slopes_whole():
    y, x = np.mgrid[:32, :32] / 10
    cupped = (5 + 3 * x - 2 * y + x * x - 0.5 * y * y + 0.7 * x * y)[None]
    assert noise_power_spectrum(cupped, (1, 1)).variance == pytest.approx(0, abs=1e-20)
    assert noise_power_spectrum(cupped, (1, 1), trend="mean").variance > 1


def test_filtered_white_noise_has_the_filter_squared():
    def response(f):
        return np.exp(-2 * (np.pi * 0.8 * f) ** 2)

    regions = _filtered(_white(400, 64), 0.7, response)
    frequency, radial = noise_power_spectrum(regions, (0.7, 0.7), trend="none").radial()
    ratio = radial / (400 * 0.7**2 * response(frequency) ** 2)
    inner = (frequency > 0.05) & (frequency < 0.4)
    assert ratio[inner].mean() == pytest.approx(1, abs=0.01)
    assert ratio[inner] == pytest.approx(np.ones(inner.sum()), abs=0.06)


def test_mean_frequency_of_gaussian_noise():
    regions = _filtered(
        _white(150, 128), 0.5, lambda f: np.exp(-2 * (np.pi * 1.0 * f) ** 2)
    )
    found = noise_power_spectrum(regions, (0.5, 0.5), trend="none")
    expected = 1 / (2 * np.pi**1.5)
    assert expected == pytest.approx(0.08979, abs=1e-5)
    assert mean_radial_frequency(*found.radial()) == pytest.approx(expected, rel=0.015)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_wave_is_found_at_its_frequency_in_cycles_per_mm(axis):
    # 12 waves in 64 pixels: cycles per mm differ with the spacing of the direction.
    spacing = (0.5, 0.8)
    wave = np.sin(2 * np.pi * 12 * np.arange(64) / 64)
    region = np.broadcast_to(wave[:, None] if axis == 0 else wave, (64, 64))
    found = noise_power_spectrum(region[None], spacing, trend="none")
    expected = 12 / (64 * spacing[axis])
    assert peak_frequency(*found.radial()) == pytest.approx(expected, abs=0.016)
    assert found.radial()[0].max() <= 0.5 / 0.8 + 1e-9


def test_noise_of_repeats_loses_the_object_and_keeps_the_variance():
    object_hu = np.linspace(-1000, 1000, 64 * 64).reshape(64, 64)
    two = _white(2, 64) + object_hu
    noise = noise_of_repeats(two)
    assert noise[0] == pytest.approx((two[0] - two[1]) / np.sqrt(2), abs=1e-9)
    many = noise_of_repeats(_white(5, 200) + 70)
    assert many.var() == pytest.approx(400, rel=0.02)


def test_nnps_difference_knows_texture_and_not_strength():
    white = _white(40, 32)
    blurred = _filtered(white, 1.0, lambda f: np.exp(-20 * f**2))
    of = [noise_power_spectrum(r, (1, 1)) for r in (white, 3 * white, blurred)]
    assert nnps_difference(of[0], of[1]) == pytest.approx(0, abs=1e-12)
    assert nnps_difference(of[0], of[2]) > 1


def test_regions_and_contrast():
    image = np.arange(100.0).reshape(1, 10, 10)
    cut = squares(image, [(4.5, 4.5), (2, 7)], 4)
    assert cut.shape == (1, 2, 4, 4)
    assert cut[0, 0, 0].tolist() == [33, 34, 35, 36]
    assert squares(image, [(2, 7)], 3)[0, 0, 1].tolist() == [26, 27, 28]
    signal, around = np.array([16.0, 24.0]), np.array([-1.0, 0.0, 1.0])
    assert mean_and_sd(around) == (0.0, 1.0)
    assert cnr(signal, around) == pytest.approx(20)
    assert cnr(-signal, around) == pytest.approx(20)
    assert cnr(signal, around, pooled=True) == pytest.approx(20 / np.sqrt(33 / 2))
    assert disc_mask((101, 101), (50, 50), 40).sum() == pytest.approx(
        np.pi * 1600, rel=0.005
    )


def test_what_cannot_be_measured_is_refused():
    refused = [
        (lambda: noise_power_spectrum(np.zeros((8, 8)), (1, 1)), "CTK-E041"),
        (
            lambda: noise_power_spectrum(np.zeros((1, 8, 8)), (1, 1), trend="cubic"),
            "CTK-E000",
        ),
        (lambda: noise_of_repeats(np.zeros((1, 8, 8))), "CTK-E041"),
        (lambda: squares(np.zeros((1, 8, 8)), [(0, 4)], 4), "CTK-E041"),
        (
            lambda: nnps_difference(
                noise_power_spectrum(_white(2, 8), (1, 1)),
                noise_power_spectrum(_white(2, 8), (2, 1)),
            ),
            "CTK-E041",
        ),
    ]
    for call, code in refused:
        with pytest.raises(CtKerasError) as refusal:
            call()
        assert refusal.value.code == code
