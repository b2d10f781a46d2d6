"""K-SVD: its sparse coding beside scikit-learn's, its update, a known dictionary."""

import numpy as np
import pytest

from ct_keras import filters
from ct_keras.filters import ksvd


def _unit(generator, dimension, atoms):
    dictionary = generator.normal(size=(dimension, atoms))
    return (dictionary / np.linalg.norm(dictionary, axis=0)).astype(np.float32)


def test_sparse_codes_are_those_of_scikit_learn():
    from sklearn.linear_model import orthogonal_mp_gram

    generator = np.random.default_rng(0)
    dictionary = _unit(generator, 24, 48)
    signals = generator.normal(0, 10, (200, 24)).astype(np.float32)
    signals[:20] *= 0.01
    tolerance = 400.0
    expected = orthogonal_mp_gram(
        dictionary.T @ dictionary,
        dictionary.T @ signals.T,
        tol=tolerance,
        norms_squared=(signals**2).sum(axis=1),
    ).T
    mine = ksvd.sparse_codes(signals, dictionary, tolerance)
    # Signals within the tolerance get no atom here, and one there.
    assert (mine[:20] == 0).all()
    assert np.array_equal(mine[20:] != 0, expected[20:] != 0)
    assert mine[20:] == pytest.approx(expected[20:], abs=0.01)
    assert (mine != 0).sum(axis=1).max() > 5


def test_each_update_lowers_the_error_and_keeps_unit_norm():
    generator = np.random.default_rng(1)
    dictionary = _unit(generator, 16, 32)
    signals = generator.normal(0, 10, (500, 16)).astype(np.float32)
    codes = ksvd.sparse_codes(signals, dictionary, 300.0)
    before = ((signals - codes @ dictionary.T) ** 2).sum()
    updated, new_codes = ksvd.update_dictionary(signals, dictionary, codes)
    after = ((signals - new_codes @ updated.T) ** 2).sum()
    assert after < 0.9 * before
    assert np.linalg.norm(updated, axis=0) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(new_codes != 0, codes != 0)


def test_the_update_of_one_atom_is_the_first_singular_vector():
    generator = np.random.default_rng(2)
    signals = generator.normal(0, 1, (40, 6)).astype(np.float32)
    codes = np.ones((40, 1), np.float32)
    dictionary = _unit(generator, 6, 1)
    updated, new_codes = ksvd.update_dictionary(signals, dictionary, codes)
    left, values, right = np.linalg.svd(signals, full_matrices=False)
    assert np.abs(updated[:, 0] @ right[0]) == pytest.approx(1, abs=1e-5)
    expected = values[0] * np.outer(left[:, 0], right[0])
    assert new_codes @ updated.T == pytest.approx(expected, abs=1e-4)


def test_an_unused_atom_becomes_the_worst_signal():
    signals = np.diag([1.0, 5.0, 2.0]).astype(np.float32)
    dictionary = np.array([[1, 0], [0, 0], [0, 1]], np.float32)
    codes = np.array([[1, 0], [0, 0], [0, 0]], np.float32)
    updated, _ = ksvd.update_dictionary(signals, dictionary, codes)
    assert updated[:, 1] == pytest.approx([0, 1, 0])


def test_a_known_dictionary_is_found():
    """Aharon et al., section V-A: 1500 signals of three of 50 atoms, and some noise."""
    generator = np.random.default_rng(4)
    truth = _unit(generator, 20, 50)
    codes = np.zeros((1500, 50))
    for row in codes:
        row[generator.choice(50, 3, replace=False)] = generator.normal(0, 1, 3)
    signals = codes @ truth.T + generator.normal(0, 0.01, (1500, 20))
    signals = signals.astype(np.float32)
    start = signals[generator.choice(1500, 50, replace=False)].T
    start = start / np.linalg.norm(start, axis=0)

    def found(dictionary):
        return (np.abs(truth.T @ dictionary).max(axis=1) > 0.99).sum()

    learned = ksvd.learn_dictionary(signals, start, 1e-9, 30, most_atoms=3)
    assert found(start) <= 5
    assert found(learned) >= 40
    assert (ksvd.sparse_codes(signals, learned, 0.0, most_atoms=3) != 0).sum() == 4500


def test_the_first_dictionary_is_cosines_of_unit_norm():
    dictionary = ksvd.dct_dictionary(256)
    assert dictionary.shape == (64, 256)
    assert np.linalg.norm(dictionary, axis=0) == pytest.approx(1)
    assert dictionary[:, 0] == pytest.approx(1 / 8)
    assert dictionary[:, 1:].sum(axis=0) == pytest.approx(0, abs=1e-9)


def test_ksvd_knows_no_zero_and_keeps_what_is_within_the_noise():
    image = np.random.default_rng(0).normal(0, 10, (40, 40)).astype(np.float32)
    image[:, 20:] += 200
    once = filters.get("ksvd", noise_sd=10)(image)
    moved = filters.get("ksvd", noise_sd=10)(image + 500)
    assert np.abs(moved - once - 500).mean() < 0.1
    assert once[:, 2:18].std() < 5
    assert once[:, 19].mean() == pytest.approx(0, abs=10)
    assert once[:, 20].mean() == pytest.approx(200, abs=10)


@pytest.mark.parametrize("noise_sd", [1e-9, 1e-5, 1e-3])
@pytest.mark.parametrize("height", [100, 2000])
def test_a_noise_level_below_rounding_leaves_an_image_as_it_is(noise_sd, height):
    step = np.where(np.arange(24) < 12, 0, height) * np.ones((24, 1))
    image = step.astype(np.float32)
    filtered = ksvd.ksvd(image, noise_sd)
    assert filtered == pytest.approx(image, abs=1e-6 * height)


def test_what_rounding_leaves_of_a_signal_is_not_coded():
    """One signal is an atom, the other one the sum of two; no third one is of use."""
    dictionary = _unit(np.random.default_rng(5), 24, 48)
    signals = np.stack([7 * dictionary[:, 3], dictionary[:, 8] - dictionary[:, 30]])
    codes = ksvd.sparse_codes(signals.astype(np.float32), dictionary, 0.0)
    assert (codes != 0).sum(axis=1).tolist() == [1, 2]
    assert codes[0, 3] == pytest.approx(7)
    assert codes[1, [8, 30]] == pytest.approx([1, -1], abs=1e-5)
