"""The physics of lowering the dose, on water cylinders."""

import numpy as np
import pytest

from ct_keras.errors import CtKerasError
from ct_keras.simulation import photons as physics
from ct_keras.simulation.dose import DoseSimulator

SHAPE, SPACING_MM = (116, 116), (3.0, 3.0)
Y = (np.arange(116) - 57.5)[:, None] * 3.0
X = (np.arange(116) - 57.5) * 3.0
RADIUS = np.hypot(X, Y)
WATER = np.where(RADIUS < 160, 0, -1000).astype(np.float32)
INSIDE = RADIUS < 150
#: Hardly any electronic noise, no modulation: variance goes with 1/dose.
IDEAL = {"electronic_noise": 0.5, "tube_current_modulation": 0.0}
DOSES = [1.0, 0.5, 0.25, 0.1, 0.05]


@pytest.fixture(scope="module")
def phantom_scan():
    """For images without noise: a dose of 1 gives the noise of full dose."""
    return DoseSimulator(SHAPE, SPACING_MM, noise_free=True, **IDEAL)


@pytest.fixture(scope="module")
def patient_scan(phantom_scan):
    """For images that hold the noise of full dose."""
    return phantom_scan.tuned(noise_free=False)


@pytest.fixture(scope="module")
def draws(phantom_scan):
    """Noise at each dose: (doses, draws, pixels) in HU."""
    noise = [phantom_scan.low_doses(WATER, DOSES, seed=seed) for seed in range(12)]
    return np.array(noise).transpose(1, 0, 2, 3)[:, :, INSIDE]


def _variance(images):
    return np.mean([(image - WATER)[INSIDE].var() for image in images])


def test_variance_goes_with_one_over_dose(draws):
    # With the electronic noise of IDEAL; 1 % is one part in 90,000.
    scaled = np.array(
        [noise.var() * dose for noise, dose in zip(draws, DOSES, strict=True)]
    )
    np.testing.assert_allclose(scaled / scaled.mean(), 1, atol=0.03)


def test_mean_does_not_shift_in_32_cm_of_water(draws):
    for noise, dose in zip(draws, DOSES, strict=True):
        if dose >= 0.1:
            assert abs(noise.mean()) < 0.5
            near_middle = noise[:, RADIUS[INSIDE] < 50]
            assert abs(near_middle.mean()) < 1.0


def test_expected_noise_is_the_noise(phantom_scan, draws):
    for index in (0, 3):
        expected = phantom_scan.noise_sd(WATER, dose=DOSES[index])[INSIDE]
        ratio = draws[index].std() / np.sqrt(np.mean(expected**2))
        assert ratio == pytest.approx(1, abs=0.015)


def test_centre_of_a_cylinder_has_the_closed_form():
    # Behind R of water every ray through the middle counts the same, and the variance
    # is pi^2/views * sum of the squared response / counts.
    scan = DoseSimulator(SHAPE, SPACING_MM, bowtie=False, electronic_noise=0.0)
    beam = scan.beam
    response = np.fft.irfft(beam.response(scan.kernel), beam.bins)
    counts = scan.photons * np.exp(-physics.MU_WATER_MM * 320)
    sd = np.sqrt(np.pi**2 / beam.views * np.sum(response**2) / counts)
    middle = scan.noise_sd(WATER)[RADIUS < 10].mean()
    assert middle == pytest.approx(sd * 1000 / physics.MU_WATER_MM, rel=0.01)


def test_only_what_is_missing_is_added(phantom_scan, patient_scan):
    full = [phantom_scan.low_dose(WATER, 1.0, seed=seed) for seed in range(12)]
    low = [
        patient_scan.low_dose(image, 0.25, seed=7 + i) for i, image in enumerate(full)
    ]
    assert _variance(low) / _variance(full) == pytest.approx(4, rel=0.03)
    added = np.mean([(b - a)[INSIDE].var() for a, b in zip(full, low, strict=True)])
    assert added / _variance(full) == pytest.approx(3, rel=0.03)


def test_half_of_a_half_is_a_quarter(phantom_scan, patient_scan):
    halved = patient_scan.tuned(photons=patient_scan.photons / 2)
    half_of_half, quarter = [], []
    for seed in range(12):
        full = phantom_scan.low_dose(WATER, 1.0, seed=seed)
        half = patient_scan.low_dose(full, 0.5, seed=100 + seed)
        half_of_half.append(halved.low_dose(half, 0.5, seed=200 + seed))
        quarter.append(patient_scan.low_dose(full, 0.25, seed=300 + seed))
    ratio = _variance(half_of_half) / _variance(quarter)
    assert ratio == pytest.approx(1, abs=0.03)


def test_default_physics_is_that_of_a_3_mm_slice():
    scan = DoseSimulator(SHAPE, SPACING_MM, noise_free=True)
    assert scan.tube_current_modulation == 0.35
    assert scan.electronic_noise == pytest.approx(4.5 * np.sqrt(3))
    # A cylinder needs no modulation, so only electronic noise raises the variance: by
    # e^2/N of each ray, N being the counts at that dose.
    quiet = scan.tuned(electronic_noise=0.0)
    counts = 0.05 * scan.counts(WATER)[scan.beam.bins // 2].mean()
    middle = RADIUS < 10
    raised = (
        scan.noise_sd(WATER, dose=0.05) ** 2 / quiet.noise_sd(WATER, dose=0.05) ** 2
    )
    assert raised[middle].mean() - 1 == pytest.approx(60.75 / counts, rel=0.05)


@pytest.mark.parametrize(
    "physics",
    [
        {"electronic_noise": -1.0},
        {"tube_current_modulation": np.nan},
        {"views": 0},
    ],
)
def test_invalid_physics_is_refused(physics):
    with pytest.raises(CtKerasError) as refusal:
        DoseSimulator(SHAPE, SPACING_MM, **physics)
    assert refusal.value.code == "CTK-E000"


def test_variances_add_up_with_electronic_noise():
    counts = np.array([5.0, 50.0, 5000.0], np.float32)
    for noise in (0.0, 3.0):
        held = np.add(*physics.added_variance(counts, 1.0, noise, noise_free=True))
        added = np.add(*physics.added_variance(counts, 0.2, noise, noise_free=False))
        total = np.add(*physics.added_variance(counts, 0.2, noise, noise_free=True))
        np.testing.assert_allclose(held + added, total, rtol=1e-5)
        expected = 1 / (0.2 * counts) + noise**2 / (0.2 * counts) ** 2
        np.testing.assert_allclose(total, expected, rtol=1e-5)


@pytest.mark.parametrize("mean", [1.0, 4.0, 30.0, 1e5])
def test_noise_of_a_ray_is_unbiased_however_few_photons(mean):
    quantum = np.full((1000, 1000), 1 / mean, np.float32)
    electronic = np.full_like(quantum, 0.25 / mean**2)
    noise = physics.draw_noise(quantum, electronic, np.random.default_rng(0))
    variance = 1 / mean + 0.25 / mean**2
    assert abs(noise.mean()) < 4e-3 * np.sqrt(variance)
    assert noise.var() == pytest.approx(variance, rel=0.01)


def test_image_is_unbiased_where_photons_are_starved(phantom_scan):
    starved = phantom_scan.tuned(photons=2e3)
    assert starved.counts(WATER).min() < 5
    images = [starved.low_dose(WATER, 1.0, seed=seed) for seed in range(8)]
    noise = np.array(images)[:, INSIDE]
    assert noise.std() > 200
    assert abs(noise.mean()) < 2.0


def test_bowtie_moves_noise_outwards(patient_scan):
    flat = DoseSimulator(SHAPE, SPACING_MM, bowtie=False, **IDEAL)
    rim = (RADIUS > 130) & (RADIUS < 150)
    middle = RADIUS < 20
    with_filter, without = patient_scan.noise_sd(WATER), flat.noise_sd(WATER)
    gain = with_filter / without
    assert gain[middle].mean() == pytest.approx(1, abs=0.01)
    assert gain[rim].mean() > 1.1
    # Even so the middle of a body stays its noisiest place.
    assert with_filter[middle].mean() > with_filter[rim].mean()


def test_tube_current_modulation_spends_the_dose_where_it_is_needed(patient_scan):
    body = np.where((X / 165) ** 2 + (Y / 100) ** 2 < 1, 0, -1000).astype(np.float32)
    middle = RADIUS < 30
    constant, best, equal = (
        patient_scan.tuned(tube_current_modulation=strength)
        .noise_sd(body)[middle]
        .mean()
        for strength in (0.0, 0.5, 1.0)
    )
    assert best < 0.97 * constant
    assert best < equal


def test_slice_current_scales_the_noise(patient_scan):
    normal = patient_scan.noise_sd(WATER)[INSIDE].mean()
    double = patient_scan.noise_sd(WATER, current=2.0)[INSIDE].mean()
    assert normal / double == pytest.approx(np.sqrt(2), rel=0.01)


def test_fewer_views_share_the_same_dose(phantom_scan, draws):
    coarse = DoseSimulator(SHAPE, SPACING_MM, noise_free=True, views=240, **IDEAL)
    images = [coarse.low_dose(WATER, 1.0, seed=seed) for seed in range(6)]
    assert _variance(images) == pytest.approx(draws[0].var(), rel=0.05)


def test_seed_slice_and_dose_decide_the_noise(patient_scan):
    options = {"seed": 5, "slice_index": 2}
    first, second = patient_scan.low_doses(WATER, [0.1, 0.25], **options)
    for dose, together in ((0.1, first), (0.25, second)):
        alone = patient_scan.low_dose(WATER, dose, **options)
        # Reconstructed together, values may differ in the last bit (NumPy 2.5).
        np.testing.assert_allclose(together, alone, rtol=0, atol=1e-3)
    others = [
        patient_scan.low_dose(WATER, 0.25, seed=6, slice_index=2),
        patient_scan.low_dose(WATER, 0.25, seed=-5, slice_index=2),
        patient_scan.low_dose(WATER, 0.25, seed=5, slice_index=3),
        first,
    ]
    for other in others:
        noise, own = (other - WATER)[INSIDE], (second - WATER)[INSIDE]
        assert abs(np.corrcoef(noise, own)[0, 1]) < 0.06


def test_padding_and_full_dose_stay_bit_for_bit(patient_scan):
    padding = RADIUS > 165
    image = np.where(padding, -3024, WATER + 7.3).astype(np.float32)
    low = patient_scan.low_dose(image, 0.1, seed=0, padding=padding)
    np.testing.assert_array_equal(low[padding], image[padding])
    assert (low[~padding] != image[~padding]).mean() > 0.999
    # Padding counts as air: the noise inside is that of the same body in air.
    in_air = np.where(padding, -1000, image)
    unpadded = patient_scan.low_dose(in_air, 0.1, seed=0)
    np.testing.assert_allclose(low[INSIDE], unpadded[INSIDE], atol=1.0)
    same = patient_scan.low_dose(image, 1.0, seed=0, padding=padding)
    np.testing.assert_array_equal(same, image)


def test_clipped_air_stays_clipped(patient_scan):
    low = patient_scan.tuned(floor_hu=-1000.0).low_dose(WATER, 0.1, seed=0)
    assert low.min() == -1000
    free = patient_scan.low_dose(WATER, 0.1, seed=0)
    np.testing.assert_array_equal(low, np.maximum(free, -1000))


@pytest.mark.parametrize(
    "dose", [0, -0.1, 1.01, float("nan"), float("inf"), "many", None]
)
def test_impossible_dose_is_refused(patient_scan, dose):
    with pytest.raises(CtKerasError, match="CTK-E000 invalid dose"):
        patient_scan.low_dose(WATER, dose, seed=0)


def test_impossible_slices_and_photons_are_refused(patient_scan):
    with pytest.raises(CtKerasError, match="CTK-E041"):
        patient_scan.low_dose(WATER[1:], 0.5, seed=0)
    with pytest.raises(CtKerasError, match="CTK-E044"):
        patient_scan.low_dose(WATER * np.nan, 0.5, seed=0)
    for photons in (0.0, -1.0, float("nan")):
        with pytest.raises(CtKerasError, match="CTK-E000"):
            patient_scan.tuned(photons=photons)


@pytest.mark.parametrize("shape, spacing_mm", [((1, 1), (1, 1)), ((7, 90), (3.5, 2.5))])
def test_any_size(shape, spacing_mm):
    scan = DoseSimulator(shape, spacing_mm, views=60, noise_free=True)
    low = scan.low_dose(np.zeros(shape), 0.5, seed=0)
    assert low.shape == shape and np.isfinite(low).all() and (low != 0).all()


@pytest.mark.parametrize("pixel_mm", [0.6, 1.2])
def test_rays_by_the_pixel_give_the_noise_of_rays_by_the_mm(pixel_mm):
    shape, spacing_mm = (96, 96), (pixel_mm, pixel_mm)
    water = np.full(shape, 20, np.float32)
    options = {"photons": 1e4, "kernel": "d45", "electronic_noise": 20.0}
    usual = DoseSimulator(shape, spacing_mm, **options)
    pixels = DoseSimulator(shape, spacing_mm, pixel_rays=True, **options)
    assert pixels.beam.bin_mm == pytest.approx(0.45 * pixel_mm)
    middle = (slice(16, -16),) * 2
    ratio = pixels.noise_sd(water, dose=0.1) / usual.noise_sd(water, dose=0.1)
    # The sharpest kernel passes frequencies that rays 0.54 mm apart do not carry.
    assert ratio[middle].mean() == pytest.approx(1, abs=0.035)
    pair = pixels.low_dose(water, 0.25, seed=1), usual.low_dose(water, 0.25, seed=1)
    sds = [(low - water)[middle].std() for low in pair]
    assert sds[0] / sds[1] == pytest.approx(1, abs=0.06)
    spectra = [np.abs(np.fft.fft2((low - water)[middle])) ** 2 for low in pair]
    low_half = [spectrum[:16, :16].sum() / spectrum.sum() for spectrum in spectra]
    assert low_half[0] == pytest.approx(low_half[1], rel=0.1)


def test_scans_of_many_pixel_sizes_share_their_tables():
    beams = [
        DoseSimulator((40, 40), (mm, mm), pixel_rays=True).beam for mm in (0.5, 0.9)
    ]
    assert beams[0]._polar._matrix is beams[1]._polar._matrix
    flat = np.ones((40, 40), np.float32)
    centre = [beam.project(flat)[beam.bins // 2, 0] for beam in beams]
    np.testing.assert_allclose(centre, [40 * 0.5, 40 * 0.9], rtol=0.02)


def test_share_of_the_noise_in_the_slice(phantom_scan, patient_scan):
    counts = patient_scan.counts(WATER)
    quantum = patient_scan.tuned(electronic_noise=0.0)
    assert quantum.noise_share(counts, 0.2) == pytest.approx(0.2)
    assert phantom_scan.noise_share(counts, 0.2) == 0
    # Electronic noise grows faster than 1 / dose.
    noisy = patient_scan.tuned(electronic_noise=30.0)
    held, total = (noisy.noise_sd(WATER, dose=dose) ** 2 for dose in (1.0, 0.2))
    share = noisy.noise_share(counts, 0.2)
    assert share == pytest.approx(held.mean() / total.mean(), rel=0.2)
    assert share < 0.19
