"""Whole series: calibration by noise, texture and exposure, and the command line."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from ct_keras.cli.simulate import command
from ct_keras.dicom import Series, create_series, read_series
from ct_keras.errors import CtKerasError
from ct_keras.phantoms import make_phantom, write_phantom
from ct_keras.simulation import (
    calibrate,
    estimate_kernel,
    estimate_noise,
    simulate_dose,
)
from ct_keras.simulation.dose import DoseSimulator
from ct_keras.simulation.estimates import estimate_share
from ct_keras.simulation.kernels import KERNELS, between
from ct_keras.simulation.scan import SeriesSimulator

SHAPE, SPACING_MM = (320, 320), (0.9, 0.9)
RADIUS = np.hypot(*(np.mgrid[:320, :320] - 159.5)) * 0.9
WATER = np.where(RADIUS < 140, 20, -1000).astype(np.float32)
INSIDE = RADIUS < 130
PHOTONS = 3e5
#: Hardly any electronic noise, no modulation: variance goes with 1/dose.
IDEAL = {"electronic_noise": 0.5, "tube_current_modulation": 0.0}


@pytest.fixture(scope="module")
def scanner():
    return DoseSimulator(SHAPE, SPACING_MM, photons=PHOTONS, noise_free=True)


def _write(hu, out, **tags):
    create_series(
        hu, (3.0, *SPACING_MM), out, patient_id="W", series_description="water", **tags
    )
    return read_series(out)


@pytest.fixture(scope="module")
def water(scanner, tmp_path_factory):
    """A scan of water in DICOM: three slices with noise of a known dose."""
    slices = [scanner.low_dose(WATER, 1.0, seed=1, slice_index=i) for i in range(3)]
    return _write(np.array(slices), tmp_path_factory.mktemp("water") / "scan")


@pytest.mark.parametrize("name", ["b30", "d45"])
def test_noise_and_texture_of_a_slice_are_found(scanner, name):
    scan = scanner.tuned(kernel=name)
    image = scan.low_dose(WATER, 1.0, seed=3)
    kernel = estimate_kernel(scanner, image)
    assert kernel.frequencies[0] == pytest.approx(
        KERNELS[name].frequencies[0], rel=0.06
    )
    estimate = estimate_noise(scan, image)
    assert estimate.sd_hu == pytest.approx((image - WATER)[INSIDE].std(), rel=0.05)
    assert estimate.photons == pytest.approx(PHOTONS, rel=0.08)


def test_coarse_pixels_do_not_tell_the_kernel():
    image = np.where(RADIUS[::2, ::2] < 140, 20, -1000).astype(np.float32)
    coarse = DoseSimulator((160, 160), (1.8, 1.8), noise_free=True)
    assert estimate_kernel(coarse, coarse.low_dose(image, 1.0, seed=0)) is None


def test_no_soft_tissue_no_estimate(scanner):
    assert estimate_noise(scanner, np.full(SHAPE, -1000.0, np.float32)) is None
    assert estimate_kernel(scanner, np.full(SHAPE, -1000.0, np.float32)) is None


@pytest.mark.parametrize("bone", [0.0, 1000.0])
def test_image_without_noise_has_no_texture(scanner, bone):
    """Beside bone, sums over windows round to a little less than nothing."""
    flat = np.zeros(SHAPE, np.float32)
    flat[:80] = bone
    with np.errstate(invalid="raise", divide="raise"):
        assert estimate_kernel(scanner, flat) is None
        estimate = estimate_noise(scanner, flat)
    assert estimate.sd_hu == 0
    assert 1e12 < estimate.photons < np.inf


def test_series_is_calibrated_by_its_noise(water):
    found = calibrate(water)
    assert (found.origin, found.kernel_origin) == ("noise", "texture")
    assert found.photons == pytest.approx(PHOTONS, rel=0.06)
    assert not found.noise_free
    assert found.floor_hu is None or found.floor_hu <= -1000


@pytest.mark.parametrize(("thickness_mm", "photons"), [(1.0, 4.5), (4.0, 9.0)])
def test_electronic_noise_grows_with_the_thickness(tmp_path, thickness_mm, photons):
    image = np.where(RADIUS < 140, 20, -1000).astype(np.float32)[None]
    named = {"patient_id": "W", "series_description": "water"}
    create_series(image, (thickness_mm, *SPACING_MM), tmp_path / "s", **named)
    found = calibrate(read_series(tmp_path / "s"), kernel="b30", noise_free=True)
    scanner = found.simulator(SHAPE, SPACING_MM)
    assert scanner.electronic_noise == pytest.approx(photons)
    assert scanner.tube_current_modulation == 0.35


def test_a_calibration_that_is_handed_in_is_not_measured_again(water, monkeypatch):
    known = calibrate(water, electronic_noise=3.0)
    measured = simulate_dose(water, 0.25, seed=4, electronic_noise=3.0)
    monkeypatch.setattr("ct_keras.simulation.scan.calibrate", None)
    given = simulate_dose(water, 0.25, seed=4, calibration=known)
    np.testing.assert_array_equal(given.hu, measured.hu)
    other = replace(known, photons=known.photons / 2)
    noisier = simulate_dose(water, 0.25, seed=4, calibration=other)
    ratio = (noisier.hu - water.hu)[0][INSIDE].var() / (given.hu - water.hu)[0][
        INSIDE
    ].var()
    assert ratio == pytest.approx(2, rel=0.03)


def test_half_of_a_half_is_a_quarter_by_measurement_alone(water):
    half = simulate_dose(water, 0.5, seed=1, **IDEAL)
    half_of_half = simulate_dose(half, 0.5, seed=2, **IDEAL)
    quarter = simulate_dose(water, 0.25, seed=3, **IDEAL)
    variance = [
        np.mean([plane[INSIDE].var() for plane in series.hu])
        for series in (water, half, half_of_half, quarter)
    ]
    np.testing.assert_allclose(
        np.divide(variance, variance[0]), [1, 2, 4, 4], rtol=0.06
    )
    assert variance[2] / variance[3] == pytest.approx(1, abs=0.06)


def test_series_keeps_geometry_and_repeats_by_seed(water):
    low = simulate_dose(water, 0.25, seed=4, photons=PHOTONS, kernel="b30")
    again = simulate_dose(water, 0.25, seed=4, photons=PHOTONS, kernel="b30")
    np.testing.assert_array_equal(low.hu, again.hu)
    assert low.spacing_mm == water.spacing_mm and low.sources == water.sources
    assert low.hu.dtype == np.float32
    noise = low.hu - water.hu
    assert abs(np.corrcoef(noise[0][INSIDE], noise[1][INSIDE])[0, 1]) < 0.05
    same = simulate_dose(water, 1.0)
    np.testing.assert_array_equal(same.hu, water.hu)


def test_object_without_noise_gets_all_of_it(tmp_path):
    clean = _write(WATER[None], tmp_path / "mas", exposure_mas=150.0)
    simulator = SeriesSimulator(clean, calibrate(clean, **IDEAL))
    found = simulator.calibration
    assert found.noise_free and found.origin == "mas" and found.floor_hu is None
    typical = calibrate(_write(WATER[None], tmp_path / "typical"))
    assert typical.origin == "typical"
    assert found.photons / typical.photons == pytest.approx(150 / 200)
    full, tenth = simulator.low_doses(0, [1.0, 0.1])
    ratio = (tenth - WATER)[INSIDE].var() / (full - WATER)[INSIDE].var()
    assert ratio == pytest.approx(10, rel=0.08)


def test_tube_current_of_the_slices_is_followed(water, monkeypatch):
    names = ("kernel", "thickness_mm", "position", "orientation", "slice_location")
    untagged = dict.fromkeys(names)
    sources = [
        SimpleNamespace(tube_current_ma=current, **untagged)
        for current in (100.0, 200.0, 300.0)
    ]
    tagged = Series(sources, water.spacing_mm)
    monkeypatch.setattr(Series, "shape", water.shape)
    monkeypatch.setattr(tagged, "read", water.read)
    options = {"photons": PHOTONS, "kernel": "b30", "noise_free": True} | IDEAL
    followed = SeriesSimulator(tagged, calibrate(tagged, **options))
    constant = SeriesSimulator(tagged, calibrate(tagged, longitudinal=False, **options))
    spread = [
        (a.low_doses(i, [0.5])[0] - water.read(i).hu)[INSIDE].std()
        for a in (followed, constant)
        for i in range(3)
    ]
    ratio = np.divide(spread[:3], spread[3:])
    np.testing.assert_allclose(ratio, np.sqrt([2, 1, 2 / 3]), rtol=0.01)


def test_unknown_spacing_is_refused():
    series = SimpleNamespace(spacing_mm=(1.0, float("nan"), float("nan")), scale=None)
    with pytest.raises(CtKerasError, match="CTK-E037"):
        calibrate(series)


def test_anatomy_is_not_taken_for_noise(tmp_path):
    phantom = make_phantom(5, region="thorax", shape=(2, 320, 320))
    write_phantom(phantom, tmp_path / "clean", noise=False)
    found = calibrate(read_series(tmp_path / "clean"))
    assert found.noise_free and found.noise_hu < 2
    assert found.kernel is KERNELS["b30"] and found.kernel_origin == "name"


def test_phantom_patient_is_calibrated(tmp_path):
    phantom = make_phantom(3, region="abdomen", shape=(2, 256, 256))
    write_phantom(phantom, tmp_path / "noisy")
    found = calibrate(read_series(tmp_path / "noisy"))
    noisy = read_series(tmp_path / "noisy").hu - phantom.hu
    tissue = phantom.labels == phantom.labels[0, 128, 128]
    assert found.noise_hu == pytest.approx(noisy[tissue].std(), rel=0.35)
    # Anatomy may pass for some noise, never for much.
    assert 0.75 < found.photons / 8e5 < 1.1


def test_independent_simulation_at_a_tenth_of_the_dose(shared_ct):
    """Fan-beam images of the FDA's LCD-CT: known noise at 100 % and at 10 %."""

    def images(dose):
        folder = shared_ct / "lcd_ct" / f"dose_{dose:03d}" / "signal_absent"
        files = [folder / f"signal_absent_{i:03d}.raw" for i in range(1, 11)]
        return (
            np.array([np.fromfile(file, "<i2").reshape(256, 256) for file in files])
            - 1000.0
        )

    full, tenth = images(100), images(10)
    scan = DoseSimulator((256, 256), (0.645, 0.645), **IDEAL)
    scan = scan.tuned(kernel=estimate_kernel(scan, full[0]))
    estimates = [estimate_noise(scan, image) for image in full]
    y, x = np.mgrid[:256, :256] - 127.5
    disc = np.hypot(x, y) < 105

    def noise(stack):
        return np.sqrt(stack.var(axis=0, ddof=1)[disc].mean())

    assert np.median([e.sd_hu for e in estimates]) == pytest.approx(
        noise(full), rel=0.05
    )
    scan = scan.tuned(photons=np.median([e.photons for e in estimates]))
    ours = np.array([scan.low_dose(image, 0.1, seed=i) for i, image in enumerate(full)])
    assert noise(ours) == pytest.approx(noise(tenth), rel=0.03)


def test_real_series_doubles_its_noise_at_a_quarter(shared_ct):
    series = read_series(shared_ct / "test" / "CRLM-CT-1006")
    simulator = SeriesSimulator(series, calibrate(series, **IDEAL))
    assert simulator.calibration.origin == "noise"
    assert 6 < simulator.calibration.noise_hu < 14
    middle = len(series) // 2
    pixels = series.read(middle)
    low = simulator.low_doses(middle, [0.25], pixels=pixels)[0]
    np.testing.assert_array_equal(low[pixels.padding], pixels.hu[pixels.padding])
    before, after = (
        estimate_noise(simulator.simulator, hu, padding=pixels.padding)
        for hu in (pixels.hu, low)
    )
    assert after.sd_hu / before.sd_hu == pytest.approx(2, rel=0.08)


def test_command_writes_a_labelled_series(water, tmp_path):
    arguments = [str(water.folder), str(tmp_path / "low"), "--dose", "0.25"]
    result = CliRunner().invoke(command, [*arguments, "--json", "--seed", "3"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["slices"] == 3 and report["photons_from"] == "noise"
    low = read_series(tmp_path / "low")
    assert low.header.ImageType[0] == "DERIVED"
    assert "SIMULATED 25% DOSE" in low.header.SeriesDescription
    assert low.series_uid != water.series_uid
    expected = simulate_dose(water, 0.25, seed=3)
    np.testing.assert_allclose(low.hu, expected.hu, atol=0.51)


def test_command_refuses_before_writing(water, tmp_path):
    for arguments in (["--dose", "1.5"], ["--dose", "0.5", "--kernel", "b99"]):
        out = tmp_path / "never"
        result = CliRunner().invoke(command, [str(water.folder), str(out), *arguments])
        assert isinstance(result.exception, CtKerasError)
        assert result.exception.code == "CTK-E000"
        assert not out.exists()


@pytest.mark.parametrize(
    ("name", "share", "origin"),
    [("B50f", 0.7 * 0.75, "name and texture"), ("FC17", 0.0, "texture")],
)
def test_a_known_name_counts_more_than_the_texture(
    scanner, tmp_path, name, share, origin
):
    """The noise is that of B30 in both cases."""
    noisy = scanner.low_dose(WATER, 1.0, seed=1)[None]
    found = calibrate(_write(noisy, tmp_path / "scan", kernel=name))
    assert found.kernel_origin == origin
    expected = between(share).frequencies[0]
    assert found.kernel.frequencies[0] == pytest.approx(expected, rel=0.03)


def test_a_softer_kernel_than_b20_is_found(scanner):
    soft = scanner.tuned(kernel=between(-0.55))
    found = estimate_share(scanner, soft.low_dose(WATER, 1.0, seed=3))
    assert found == pytest.approx(-0.55, abs=0.1)
