"""Noise of slices that overlap: correlated by the overlap, each with its variance."""

import numpy as np
import pydicom
import pytest

from ct_keras.data import convert, iterate_pairs
from ct_keras.dicom import create_series, read_series
from ct_keras.simulation import DoseSimulator, calibrate, simulate_dose
from ct_keras.simulation.layers import shared_layers
from ct_keras.simulation.photons import draw_noise, shared_noise
from ct_keras.simulation.rays import low_dose_rays
from ct_keras.simulation.scan import SeriesSimulator

SHAPE, SPACING_MM = (160, 160), (1.8, 1.8)
RADIUS = np.hypot(*(np.mgrid[:160, :160] - 79.5)) * 1.8
WATER = np.where(RADIUS < 130, 20, -1000).astype(np.float32)
INSIDE = RADIUS < 120
OPTIONS = {"photons": 3e5, "kernel": "b30", "noise_free": True}


def write_water(out, *, thickness_mm, every_mm, slices=6, patient="W"):
    hu = np.repeat(WATER[None], slices, axis=0)
    spacing_mm = every_mm, *SPACING_MM
    create_series(hu, spacing_mm, out, patient_id=patient, series_description="water")
    for path in out.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.SliceThickness = thickness_mm
        dataset.save_as(path)
    return read_series(out)


def correlations(noise, apart):
    pairs = [
        np.corrcoef(one[INSIDE], other[INSIDE])[0, 1]
        for one, other in zip(noise, noise[apart:], strict=False)
    ]
    return float(np.mean(pairs))


@pytest.mark.parametrize(
    ("thickness_mm", "every_mm"), [(3, 2), (1, 0.5), (5, 2), (3, 3), (1, 2)]
)
def test_neighbours_share_the_noise_of_their_overlap(tmp_path, thickness_mm, every_mm):
    geometry = {"thickness_mm": thickness_mm, "every_mm": every_mm}
    series = write_water(tmp_path / "scan", **geometry)
    calibration = calibrate(series, **OPTIONS)
    noise = simulate_dose(series, 0.25, 3, calibration=calibration).hu - series.hu
    for apart in (1, 2, 3):
        overlap = max(0.0, 1 - apart * every_mm / thickness_mm)
        assert correlations(noise, apart) == pytest.approx(overlap, abs=0.04)
    alone = calibration.simulator(SHAPE, SPACING_MM)
    alone = [
        alone.low_dose(WATER, 0.25, seed=3, slice_index=index) - WATER
        for index in range(len(series))
    ]
    spread = np.std([each[INSIDE] for each in noise])
    assert spread == pytest.approx(np.std([each[INSIDE] for each in alone]), rel=0.02)
    if every_mm >= thickness_mm:
        np.testing.assert_allclose(noise, alone, atol=1e-4)


def test_doses_and_seeds_stay_independent(tmp_path):
    series = write_water(tmp_path / "scan", thickness_mm=3, every_mm=2)
    simulator = SeriesSimulator(series, calibrate(series, **OPTIONS))
    first, again, other = (
        [low - WATER for low in simulator.low_doses(2, [0.1, 0.25], seed=seed)]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first[0], again[0])
    for one, two in ((first[0], first[1]), (first[0], other[0])):
        assert abs(np.corrcoef(one[INSIDE], two[INSIDE])[0, 1]) < 0.05


def test_converted_records_hold_the_correlated_noise(tmp_path):
    for split in ("train", "val"):
        folder = tmp_path / "scans" / split / split
        geometry = {"thickness_mm": 3, "every_mm": 1.5, "slices": 4}
        write_water(folder, patient=split, **geometry)
    convert(
        tmp_path / "scans",
        tmp_path / "records",
        layout="single",
        split="folders",
        doses=(0.25,),
    )
    pairs = list(iterate_pairs(tmp_path / "records", "train"))
    noise = [pair.low_hu - pair.full_hu for pair in pairs]
    assert correlations(noise, 1) == pytest.approx(0.5, abs=0.04)


def test_rays_are_those_of_the_image():
    simulator = DoseSimulator(SHAPE, SPACING_MM, **OPTIONS)
    layers = ((4, 0.25), (5, 0.75))
    image = simulator.low_doses(WATER, [0.25], seed=1, layers=layers)[0] - WATER
    with_layers = low_dose_rays(simulator, WATER, 0.25, seed=1, layers=layers)
    without = low_dose_rays(simulator, WATER, 1.0, seed=1).integrals
    (noise,) = simulator.noise_sinograms(WATER, [0.25], seed=1, layers=layers)
    assert not np.array_equal(with_layers.integrals, without)
    (expected,) = simulator.beam.reconstruct_noise([noise], simulator.kernel)
    scale = np.sum(image * expected) / np.sum(expected**2)
    np.testing.assert_allclose(image, scale * expected, atol=1e-3)


def test_shares_add_up_and_repeat_in_an_irregular_stack():
    heights = [0.0, 2.0, 4.0, 5.0, 30.0, 31.0]
    layers = shared_layers(heights, 3.0)
    for own in layers:
        assert sum(share for _, share in own) == pytest.approx(1)
    for i, one in enumerate(layers):
        for j, other in enumerate(layers):
            common = sum(min(share, dict(other).get(n, 0.0)) for n, share in one)
            overlap = max(0.0, 1 - abs(heights[i] - heights[j]) / 3)
            assert common == pytest.approx(overlap, abs=1e-6)
    assert shared_layers([0.0, 2.99, 5.98], 3.0) == ((), (), ())
    many = shared_layers(np.arange(50) * 0.1, 5.0)
    assert max(map(len, many)) <= 8


@pytest.mark.parametrize("mean", [2.0, 10.0, 400.0])
def test_shared_noise_has_the_moments_of_counts(mean):
    generator = np.random.default_rng(0)
    quantum = np.full((1000, 500), 1 / mean)
    electronic = np.full_like(quantum, 0.5 / mean**2)
    normals = generator.standard_normal(quantum.shape).astype(np.float32)
    ours = shared_noise(quantum, electronic, normals).astype(np.float64)
    counts = draw_noise(quantum, electronic, generator).astype(np.float64)
    assert ours.mean() == pytest.approx(0, abs=4e-3 / np.sqrt(mean))
    assert ours.var() == pytest.approx(counts.var(), rel=0.02)
    if mean < 100:
        skewness = [np.mean(each**3) / each.var() ** 1.5 for each in (ours, counts)]
        assert skewness[0] == pytest.approx(skewness[1], rel=0.15)
    nothing = shared_noise(0 * quantum, 0 * electronic, normals)
    assert not nothing.any()
