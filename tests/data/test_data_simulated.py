"""Pairs simulated as they are asked for: the same images as records, plus the rays."""

import numpy as np
import pytest

from ct_keras.data import iterate_pairs
from ct_keras.data.simulated import phantom_pairs, simulated_pairs
from ct_keras.dicom import find_series
from ct_keras.phantoms import make_phantom, phantom_scanner
from ct_keras.simulation import SeriesSimulator, calibrate
from ct_keras.simulation.photons import attenuation

SHAPE = (2, 64, 64)


@pytest.fixture(scope="module")
def phantoms():
    return list(phantom_pairs([5, 6, 5], [0.1, 0.5], shape=SHAPE, seed=3))


def test_phantoms_are_the_reference_and_regions_take_turns(phantoms):
    assert len(phantoms) == 3 * 2 * 2
    assert [pair.body_part for pair in phantoms[::4]] == ["chest", "abdomen", "chest"]
    assert [pair.dose_fraction for pair in phantoms[:2]] == [0.1, 0.5]
    phantom = make_phantom(6, region="abdomen", shape=SHAPE)
    np.testing.assert_array_equal(phantoms[6].full_hu, phantom.hu[1])
    low = phantom_scanner(phantom).low_dose(phantom.hu[1], 0.1, seed=4, slice_index=1)
    np.testing.assert_array_equal(phantoms[6].low_hu, low)


def test_noise_falls_with_dose_and_differs_between_patients(phantoms):
    body = phantoms[0].full_hu > -200
    noise = [(pair.low_hu - pair.full_hu)[body] for pair in phantoms]
    assert noise[0].std() / noise[1].std() == pytest.approx(np.sqrt(5), rel=0.1)
    again = (phantoms[8].low_hu - phantoms[8].full_hu)[body]
    np.testing.assert_array_equal(phantoms[8].full_hu, phantoms[0].full_hu)
    assert abs(np.corrcoef(again, noise[0])[0, 1]) < 0.15


def test_rays_belong_to_the_low_dose(phantoms):
    for pair in phantoms[:4]:
        clean = pair.rays.beam.project(attenuation(pair.full_hu))
        error = (pair.rays.integrals - clean) / np.sqrt(pair.rays.variance)
        assert np.std(error) == pytest.approx(1, abs=0.05)
    other = phantoms[0].rays.integrals - phantoms[1].rays.integrals
    assert np.abs(other).max() > 0


def test_anonymised_patients_are_told_apart_by_their_studies(write_ct, tmp_path):
    for study in ("one", "two"):
        for number in range(2):
            folder = tmp_path / study / str(number)
            place = {"seed_uid": study, "seed": len(study) + number, "slices": 1}
            write_ct(folder, patient="ANONYMOUS", kernel="B30f", **place)
    series = find_series(tmp_path)
    pairs = list(simulated_pairs(series, [0.5], seed=1))
    assert [pair.case for pair in pairs] == ["1", "1", "2", "2"]
    assert [pair.series for pair in pairs] == ["1", "2", "3", "4"]


def test_series_are_simulated_as_convert_does_it(phantom_patients):
    series = find_series(phantom_patients / "train")
    pairs = list(simulated_pairs(series, [0.1], seed=1))
    assert [pair.case for pair in pairs] == ["1"] * 3 + ["2"] * 3
    assert [pair.slice_index for pair in pairs] == [0, 1, 2] * 2
    np.testing.assert_array_equal(pairs[4].full_hu, series[1].read(1).hu)
    assert pairs[0].spacing_mm == (4.0, 4.0) and pairs[0].kernel == "B30f"
    assert pairs[0].body_part == "abdomen" and pairs[0].age_band is None
    body = np.abs(pairs[0].full_hu) < 200
    added = (pairs[0].low_hu - pairs[0].full_hu)[body].std()
    assert pairs[0].rays.integrals.shape[1] == 720
    again = next(simulated_pairs(series, [0.1], seed=1))
    np.testing.assert_array_equal(again.low_hu, pairs[0].low_hu)
    less = next(simulated_pairs(series, [0.4], seed=1))
    ratio = added / (less.low_hu - less.full_hu)[body].std()
    # The series holds the noise of its own dose: only the difference is added.
    simulator = SeriesSimulator(series[0], calibrate(series[0])).simulator
    full, *lower = (
        np.mean(simulator.noise_sd(pairs[0].full_hu, dose=dose)[body] ** 2)
        for dose in (1.0, 0.1, 0.4)
    )
    expected = np.sqrt((lower[0] - full) / (lower[1] - full))
    assert expected > np.sqrt((1 / 0.1 - 1) / (1 / 0.4 - 1))  # electronic noise
    assert ratio == pytest.approx(expected, rel=0.08)


def test_pairs_that_are_not_wanted_are_not_made(phantom_patients, monkeypatch):
    series = find_series(phantom_patients / "train")
    whole = list(simulated_pairs(series, [0.1, 0.4], seed=1))
    read = []
    reader = type(series[0]).read
    monkeypatch.setattr(
        type(series[0]),
        "read",
        lambda self, index: read.append(self.series_key) or reader(self, index),
    )
    some = list(simulated_pairs(series, [0.1, 0.4], seed=1, only={7, 10, 11}))
    assert set(read) == {series[1].series_key}
    for pair, number in zip(some, (7, 10, 11), strict=True):
        np.testing.assert_array_equal(pair.low_hu, whole[number].low_hu)
        np.testing.assert_array_equal(pair.rays.integrals, whole[number].rays.integrals)


def test_records_have_no_rays(phantom_records):
    assert next(iterate_pairs(phantom_records, "test")).rays is None
