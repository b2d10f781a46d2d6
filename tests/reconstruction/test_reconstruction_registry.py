"""The projection-domain baselines by name, and what all of them must keep."""

from types import SimpleNamespace

import numpy as np
import pytest

from ct_keras import filters
from ct_keras.errors import CtKerasError
from ct_keras.reconstruction.registry import get_reconstruction, list_reconstructions
from ct_keras.simulation import DoseSimulator

NAMES = list_reconstructions()


def _noisy(shape=(40, 50), sd=20.0, seed=0):
    return np.random.default_rng(seed).normal(40, sd, shape).astype(np.float32)


def test_names():
    assert NAMES == ["sinogram", "adaptive", "sart", "tv"]
    for name in NAMES:
        found = get_reconstruction(name)
        assert found.name == f"recon:{name}"
        assert set(found.meanings) == set(found.parameters)
        assert set(found.grid) < set(found.parameters)
        for parameter, values in found.grid.items():
            assert min(values) < found.parameters[parameter] < max(values)


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_image_is_unchanged(name):
    image = np.full((40, 50), 55, np.float32)
    assert get_reconstruction(name)(image) == pytest.approx(image, abs=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_padding_is_kept_and_does_not_bleed(name):
    image = _noisy(sd=5)
    image[:10] = -3024
    filtered = get_reconstruction(name)(image)
    assert np.array_equal(filtered[:10], image[:10])
    assert filtered[14:].min() > -50


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (2, 20, 30)])
def test_any_size_and_volumes_slice_by_slice(name, shape):
    image = _noisy(shape)
    chosen = get_reconstruction(name)
    filtered = chosen(image)
    assert filtered.dtype == np.float32 and filtered.shape == shape
    assert np.isfinite(filtered).all()
    if image.ndim == 3:
        assert np.array_equal(filtered[1], chosen(image[1]))


def test_tuning_finds_the_grid_value_with_the_least_error():
    y, x = (np.mgrid[:96, :96] - 47.5) * 2
    clean = np.where((x / 85) ** 2 + (y / 60) ** 2 < 1, 40.0, -1000.0)
    clean[40:50, 40:50] += 60
    scanner = DoseSimulator((96, 96), (2.0, 2.0), photons=8e3, noise_free=True)
    low = scanner.low_dose(clean, 1.0, seed=1)
    pairs = [SimpleNamespace(low_hu=low, full_hu=clean.astype(np.float32))]
    chosen = get_reconstruction("sinogram", pixel_mm=2.0)
    tuned = filters.tune(chosen, pairs)
    errors = {
        beta: np.mean((chosen.with_parameters(beta=beta)(low) - clean) ** 2)
        for beta in chosen.grid["beta"]
    }
    assert tuned.parameters["beta"] == min(errors, key=errors.get)
    assert min(errors.values()) < 0.95 * np.mean((low - clean) ** 2)
    assert tuned.parameters["pixel_mm"] == 2.0


def test_what_does_not_exist_is_refused():
    with pytest.raises(CtKerasError, match=r"CTK-E092.*sinogram, adaptive, sart, tv"):
        get_reconstruction("mbir")
    with pytest.raises(CtKerasError, match="CTK-E000"):
        get_reconstruction("tv", sigma=1)
    with pytest.raises(CtKerasError, match="CTK-E000 invalid pixel spacing"):
        get_reconstruction("tv", pixel_mm=0)(np.zeros((8, 8)))
