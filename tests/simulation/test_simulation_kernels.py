"""Kernels: the three points of the MTF tables, measured in reconstructed images."""

import numpy as np
import pytest
from scipy.special import j1

from ct_keras.errors import CtKerasError
from ct_keras.simulation.kernels import (
    APERTURE_MM,
    KERNELS,
    between,
    get_kernel,
    kernel_by_name,
    named_share,
)
from ct_keras.simulation.projection import ParallelBeam


@pytest.mark.parametrize("name", ["b30", "d45"])
def test_formula_passes_the_table_and_falls(name):
    kernel = KERNELS[name]
    at = np.array(kernel.frequencies) / 10
    np.testing.assert_allclose(kernel.mtf(at), [0.5, 0.1, 0.02], rtol=1e-9)
    curve = kernel.mtf(np.linspace(0, 1.25, 500))
    assert curve[0] == 1 and (np.diff(curve) < 0).all()


@pytest.mark.parametrize("name", ["b30", "d45"])
def test_measured_mtf_of_the_system_has_the_three_points(name):
    # A wire of 0.3 mm seen by detector elements of finite width, at fine pixels.
    radius_mm, pixel_mm = 0.15, 0.2
    beam = ParallelBeam((128, 128), (pixel_mm, pixel_mm), views=360, bin_mm=0.2)
    angle = np.arange(360) * np.pi / 360
    x0, y0 = 2.31, -1.17
    across = np.linspace(-APERTURE_MM / 2, APERTURE_MM / 2, 401)
    distance = beam.position_mm[:, None] - x0 * np.cos(angle) - y0 * np.sin(angle)
    chord = np.mean(
        [
            2 * np.sqrt(np.maximum(radius_mm**2 - (distance + a) ** 2, 0))
            for a in across
        ],
        axis=0,
    )
    image = beam.reconstruct(chord, KERNELS[name])
    frequency = np.fft.fftfreq(128, pixel_mm)
    radial = np.hypot(frequency[:, None], frequency)
    phase = 2 * np.pi * radius_mm * np.maximum(radial, 1e-9)
    wire = 2 * j1(phase) / phase
    response = np.abs(np.fft.fft2(image)) * pixel_mm**2 / (np.pi * radius_mm**2) / wire
    for target, at in zip([0.5, 0.1, 0.02], KERNELS[name].frequencies, strict=True):
        ring = np.abs(radial - at / 10) < 0.02
        line = np.polyfit(radial[ring], np.log(response[ring]), 1)
        found = np.exp(np.polyval(line, at / 10))
        assert found == pytest.approx(target, rel=0.03)


def test_d45_is_as_much_noisier_than_b30_as_reported():
    beam = ParallelBeam((64, 64), (0.8, 0.8))
    white = np.random.default_rng(0).standard_normal((beam.bins, beam.views))
    draws = [white.astype(np.float32)]
    soft, sharp = (
        np.std(beam.reconstruct_noise(draws, KERNELS[name])) for name in ("b30", "d45")
    )
    expected = [
        beam.noise_variance(np.ones(white.shape), KERNELS[name]).mean() ** 0.5
        for name in ("b30", "d45")
    ]
    assert expected[1] / expected[0] == pytest.approx(2.28, abs=0.02)
    assert sharp / soft == pytest.approx(2.28, abs=0.25)


def test_between_joins_the_two():
    assert between(0).frequencies == pytest.approx(KERNELS["b30"].frequencies)
    assert between(1).frequencies == pytest.approx(KERNELS["d45"].frequencies)
    assert 3.6 < between(0.4).frequencies[0] < 5.6


@pytest.mark.parametrize(
    "name, half",
    [
        *(("B30f", 3.6), ("D45f", 5.6), ("FC13", 3.6), (None, 3.6), ("nonsense", 3.6)),
        ("59 .21.B50s", 3.6 * (5.6 / 3.6) ** 0.75),
    ],
)
def test_known_and_unknown_names(name, half):
    assert kernel_by_name(name).frequencies[0] == pytest.approx(half)


def test_names_in_order_of_sharpness():
    for names in (
        ["B10f", "B20f", "B30f", "B45f", "B60f", "B70f"],
        ["D45f", "B70f"],
        ["STANDARD", "DETAIL", "LUNG"],
        "ABCDE",
    ):
        halves = [kernel_by_name(name).frequencies[0] for name in names]
        assert halves == sorted(halves) and len(set(halves)) == len(halves)


@pytest.mark.parametrize("name", ["FC17", "59 .10.AB50", "nonsense", "", None])
def test_a_name_that_tells_nothing_has_no_share(name):
    assert named_share(name) is None


def test_unknown_kernel_is_refused():
    with pytest.raises(CtKerasError, match=r"CTK-E000.*b99.*b30"):
        get_kernel("b99")
    assert get_kernel("D45") is KERNELS["d45"]
