"""d' of NPW, PW and NPWE against closed forms."""

import math

import numpy as np
import pytest

from ct_keras.image_quality import (
    auc_of,
    disc_task,
    dprime_of,
    equivalent_dose,
    eye_filter,
    gaussian_task,
    noise_power_spectrum,
    npw,
    npwe,
    pw,
)
from ct_keras.image_quality.dose_curves import dose_curves

GAUSSIAN = 8 * math.sqrt(math.pi) * 4 / 20


def _radial(highest, samples=200_000):
    frequency = np.linspace(0, highest, samples)
    return frequency, 2 * np.pi * frequency * frequency[1]


def test_a_gaussian_signal_in_white_noise():
    assert pytest.approx(2.8359, abs=1e-4) == GAUSSIAN
    grid = noise_power_spectrum(np.ones((1, 64, 60)), (0.7, 0.7), trend="none")
    task = gaussian_task(grid.frequency_mm, contrast_hu=8, sigma_mm=4 * 0.7)
    noise = np.full(task.shape, 20**2 * 0.7**2)
    assert npw(task, 1.0, noise, cell=grid.cell) == pytest.approx(GAUSSIAN, rel=1e-6)
    assert pw(task, 1.0, noise, cell=grid.cell) == pytest.approx(GAUSSIAN, rel=1e-6)
    assert auc_of(GAUSSIAN) == pytest.approx(0.9775, abs=5e-5)
    assert dprime_of(auc_of(GAUSSIAN)) == pytest.approx(GAUSSIAN)


def test_a_disc_in_white_noise():
    frequency, cell = _radial(300.0)
    task = disc_task(frequency, contrast_hu=10, radius_mm=3.5)
    noise = np.full(task.shape, (20 * 0.7) ** 2)
    expected = 10 * math.sqrt(math.pi) * 3.5 / (20 * 0.7)
    assert expected == pytest.approx(4.4311, abs=1e-4)
    assert npw(task, 1.0, noise, cell=cell) == pytest.approx(expected, rel=1e-3)


def test_the_disc_task_is_the_transform_of_a_disc():
    assert disc_task(0.0, contrast_hu=10, radius_mm=2) == pytest.approx(40 * np.pi)
    zero = 3.8317059702 / (2 * np.pi * 2)  # first zero of J1
    assert disc_task(zero, contrast_hu=10, radius_mm=2) == pytest.approx(0, abs=1e-7)


def test_coloured_noise_parts_the_observers():
    # W^2 = k exp(-a f^2) and N = n exp(-b f^2) have integrals in closed form.
    frequency, cell = _radial(3.0)
    task = gaussian_task(frequency, contrast_hu=8, sigma_mm=2)
    a, b, n = 4 * np.pi**2 * 4, 60.0, 50.0
    k = (8 * 2 * np.pi * 4) ** 2
    noise = n * np.exp(-b * frequency**2)
    given = (task, np.ones_like(frequency), noise)
    expected_npw = math.sqrt(k * math.pi * (a + b) / n) / a
    expected_pw = math.sqrt(k * math.pi / (n * (a - b)))
    assert npw(*given, cell=cell) == pytest.approx(expected_npw, rel=1e-4)
    assert pw(*given, cell=cell) == pytest.approx(expected_pw, rel=1e-4)
    assert expected_pw > expected_npw * 1.05


def test_the_transfer_function_counts_squared():
    frequency, cell = _radial(3.0)
    task = gaussian_task(frequency, contrast_hu=8, sigma_mm=2)
    noise = np.full(frequency.shape, 30.0)
    blur = np.exp(-2 * (np.pi * 1.5 * frequency) ** 2)
    # A signal of width 2 blurred by 1.5 has a width of 2.5 and the same volume.
    wider = gaussian_task(frequency, contrast_hu=8 * 4 / 6.25, sigma_mm=2.5)
    for observer in (npw, pw):
        blurred = observer(task, blur, noise, cell=cell)
        assert blurred == pytest.approx(observer(wider, 1.0, noise, cell=cell))


def test_the_eye_sees_best_at_four_cycles_per_degree():
    frequency = np.linspace(0, 2, 20001)
    best = 4 / (500 * math.pi / 180)
    seen = eye_filter(frequency)
    assert frequency[np.argmax(seen)] == pytest.approx(best, abs=1e-4)
    assert seen.max() == pytest.approx(1)
    assert seen[0] == 0
    per_degree = 4 * frequency / best
    burgess = per_degree**1.3 * np.exp(-0.040625 * per_degree**2)
    assert seen == pytest.approx(burgess / burgess.max(), abs=1e-6)
    zoomed = eye_filter(frequency, zoom=2)
    assert frequency[np.argmax(zoomed)] == pytest.approx(2 * best, abs=1e-4)


def test_npwe_with_an_even_eye_is_npw():
    frequency, cell = _radial(3.0)
    task = disc_task(frequency, contrast_hu=5, radius_mm=3)
    noise = 20 * frequency
    given = (task, np.exp(-2 * frequency), noise)
    plain = npw(*given, cell=cell)
    eye = np.full(frequency.shape, 0.3)
    assert npwe(*given, eye=eye, cell=cell) == pytest.approx(plain)
    seen = npwe(*given, eye=eye_filter(frequency), cell=cell)
    assert seen < plain
    weaker = npwe(*given, eye=eye_filter(frequency), cell=cell, internal_noise=5)
    assert weaker < seen


def test_internal_noise_as_strong_as_white_noise_halves_the_square():
    frequency, cell = _radial(3.0)
    task, white = (
        disc_task(frequency, contrast_hu=5, radius_mm=3),
        np.full(200_000, 9.0),
    )
    one, two = (
        npwe(task, 1.0, white, eye=1.0, cell=cell, internal_noise=internal)
        for internal in (0.0, 9.0)
    )
    assert two == pytest.approx(one / math.sqrt(2))


def test_the_equivalent_dose_of_an_unchanged_texture_is_exact():
    doses = [1.0, 0.1, 0.4]
    aucs = [auc_of(2.5 * math.sqrt(dose)) for dose in doses]
    for dose in (0.1, 0.17, 0.25, 0.9, 1.0):
        reached = equivalent_dose(doses, aucs, auc_of(2.5 * math.sqrt(dose)))
        assert reached == pytest.approx(dose, rel=1e-6)
    assert equivalent_dose(doses, aucs, 0.99) is None
    assert equivalent_dose(doses, aucs, 0.5) is None


def test_dose_curves_gather_methods_by_insert():
    def at(*dprimes):
        pairs = zip((1.0, 0.25), dprimes, strict=True)
        return {
            dose: {"auc": auc_of(value), "auc_interval": [0.4, 1.0]}
            for dose, value in pairs
        }

    results = {"input": {"disc": at(2.0, 1.0)}, "net": {"disc": at(2.4, 1.5)}}
    curves = dose_curves(results, "input")["disc"]
    assert curves["net"]["doses"] == [0.25, 1.0]
    assert curves["net"]["auc"] == [auc_of(1.5), auc_of(2.4)]
    low, high = curves["net"]["equivalent_dose"]
    assert low == pytest.approx(0.75**2)
    assert high is None
    assert curves["input"]["equivalent_dose"] == pytest.approx([0.25, 1.0])
