"""Noise drawn onto full-dose patches: its statistics, and the same every time."""

import json

import numpy as np
import pytest

from ct_keras.data import training_patches
from ct_keras.data.noises import DrawnNoise
from ct_keras.errors import CtKerasError

MULTIPLICATIVE = {"kind": "uniform_multiplicative", "high": 2.5}
ADDITIVE = {"kind": "uniform_additive", "high": 0.1}
GAUSSIAN = {"kind": "gaussian", "sigma": 0.02}


def draw(noise, patches, seed=0):
    import tensorflow as tf

    from ct_keras.data.drawn_noise import noise_drawer

    seeds = tf.constant([seed, 1], tf.int64)
    return noise_drawer(noise)(tf.constant(patches, tf.float32), seeds).numpy()


def arrays(dataset) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(low.numpy(), full.numpy()) for low, full in dataset]


@pytest.fixture
def records(write_records):
    """The same full dose with two low doses, in two folders."""
    generator = np.random.default_rng(0)
    full = [generator.integers(1000, 1400, (40, 40)).astype("i2") for _ in range(6)]
    return [
        write_records({"train": {"a": [(image + k, image) for image in full]}}, name)
        for k, name in ((7, "one"), (60, "two"))
    ]


def test_multiplicative_noise_has_the_moments_of_the_article():
    x = np.full((50, 40, 40, 1), 0.3)
    factor = draw(MULTIPLICATIVE, x) / 0.3
    assert factor.mean() == pytest.approx(1.25, abs=0.01)
    assert factor.std() == pytest.approx(0.722, abs=0.005)
    assert 0 <= factor.min() < 0.001
    assert 2.499 < factor.max() < 2.5 + 1e-6
    assert (
        np.abs(np.corrcoef(factor[..., :-1, 0].ravel(), factor[..., 1:, 0].ravel()))[
            0, 1
        ]
        < 0.02
    )
    assert not draw(MULTIPLICATIVE, 0 * x).any()


def test_additive_noise_adds_the_same_everywhere():
    x = np.linspace(0, 1, 80_000).reshape(50, 40, 40, 1)
    added = draw(ADDITIVE, x) - x
    assert added.mean() == pytest.approx(0.05, abs=0.001)
    assert added.std() == pytest.approx(0.1 / np.sqrt(12), abs=0.001)
    assert -1e-6 < added.min() < 0.001
    assert 0.099 < added.max() < 0.1 + 1e-6
    assert abs(np.corrcoef(added.ravel(), x.ravel())[0, 1]) < 0.02


def test_gaussian_noise_of_one_level():
    noise = draw(GAUSSIAN, np.full((50, 40, 40, 1), 0.25)) - 0.25
    assert noise.mean() == pytest.approx(0, abs=0.0003)
    assert noise.std() == pytest.approx(0.02, rel=0.02)
    assert np.mean(np.abs(noise) > 0.04) == pytest.approx(0.0455, abs=0.005)


def test_each_patch_draws_one_of_the_levels():
    levels = [0.01, 0.05, 0.2]
    noise = draw(
        {"kind": "gaussian", "sigma_choice": levels}, np.zeros((300, 30, 30, 1))
    )
    measured = noise.std(axis=(1, 2, 3))
    nearest = np.argmin(np.abs(measured[:, None] - levels), axis=1)
    assert measured == pytest.approx(np.array(levels)[nearest], rel=0.15)
    assert np.bincount(nearest, minlength=3).min() > 60  # 100 each are expected


def test_each_patch_draws_from_the_range():
    noise = draw(
        {"kind": "gaussian", "sigma_range": (0.1, 0.3)}, np.zeros((400, 40, 40, 1))
    )
    measured = noise.std(axis=(1, 2, 3))
    assert measured.min() == pytest.approx(0.1, abs=0.01)
    assert measured.max() == pytest.approx(0.3, abs=0.02)
    assert measured.mean() == pytest.approx(0.2, abs=0.01)
    assert measured.std() == pytest.approx(0.2 / np.sqrt(12), abs=0.006)


def test_json_does_not_change_a_noise():
    """A range was a tuple and a choice a list, and JSON has lists only."""
    x = np.zeros((64, 20, 20, 1))
    for strength in ({"sigma_range": (0.1, 0.3)}, {"sigma_choice": (0.1, 0.3)}):
        noise = DrawnNoise("gaussian", **strength)
        again = DrawnNoise.from_plain(json.loads(json.dumps(noise.to_plain())))
        assert again == noise
        assert np.array_equal(draw(again, x), draw(noise, x))
        between = np.abs(draw(again, x).std(axis=(1, 2, 3)) - 0.2) < 0.05
        assert between.any() == ("sigma_range" in strength)


def test_volumes_have_one_level_each():
    noise = draw(
        {"kind": "gaussian", "sigma_choice": [0.1, 0.4]}, np.zeros((8, 5, 20, 20, 1))
    )
    by_slice = noise.std(axis=(2, 3, 4))
    assert np.abs(by_slice / by_slice.mean(1, keepdims=True) - 1).max() < 0.2
    assert by_slice.max() > 2 * by_slice.min()


def test_noise_depends_on_the_seed_alone():
    x = np.full((2, 8, 8, 1), 0.5)
    for noise in (MULTIPLICATIVE, ADDITIVE, GAUSSIAN):
        assert np.array_equal(draw(noise, x), draw(noise, x))
        assert not np.array_equal(draw(noise, x), draw(noise, x, seed=1))


def test_patches_are_the_full_dose_with_noise_whatever_the_low_dose(records):
    options = {"patch_size": 16, "batch_size": 4, "steps": 3}
    plain = arrays(training_patches(records[0], **options))
    one, two = (
        arrays(training_patches(folder, noise=MULTIPLICATIVE, **options))
        for folder in records
    )
    for (_, clean), (low, full), (other_low, other_full) in zip(
        plain, one, two, strict=True
    ):
        assert np.array_equal(full, clean)
        assert np.array_equal(full, other_full)
        assert np.array_equal(low, other_low)
        factor = low / full
        assert 0 <= factor.min() < 0.1
        assert 2.4 < factor.max() <= 2.5 + 1e-5


def test_every_batch_and_epoch_has_its_own_noise_and_a_resumed_run_the_same(records):
    options = {"patch_size": 16, "batch_size": 4, "steps": 2, "noise": ADDITIVE}
    stream = training_patches(records[0], seed=3, first_epoch=0, **options)
    batches = arrays(stream.take(6))
    resumed = training_patches(records[0], seed=3, first_epoch=2, **options)
    for (low, full), (again, full_again) in zip(
        batches[4:], arrays(resumed.take(2)), strict=True
    ):
        assert np.array_equal(low, again)
        assert np.array_equal(full, full_again)
    noises = {(low - full).tobytes() for low, full in batches}
    assert len(noises) == 6
    (other, _), *_ = arrays(training_patches(records[0], seed=4, **options))
    assert not np.array_equal(other, batches[0][0])


@pytest.mark.parametrize(
    "noise",
    [
        {},
        {"kind": "poisson"},
        {"kind": "gaussian"},
        {"kind": "gaussian", "sigma": [0.1, 0.2]},
        {"kind": "gaussian", "sigma_choice": []},
        {"kind": "gaussian", "sigma_range": (0.2, 0.1)},
        {"kind": "gaussian", "sigma_range": (0.1, 0.2, 0.3)},
        {"kind": "gaussian", "sigma_choice": [0.1, -0.1]},
        {"kind": "gaussian", "sigma": 0.1, "high": 1.0},
        {"kind": "gaussian", "sigma": 0.1, "sigma_range": [0.1, 0.2]},
        {"kind": "uniform_additive", "high": float("nan")},
        {"kind": "uniform_additive", "high": [0.1]},
        {"kind": "uniform_multiplicative", "low": 2.5},
    ],
)
def test_impossible_noise_is_refused(records, noise):
    with pytest.raises(CtKerasError) as refusal:
        training_patches(records[0], patch_size=8, noise=noise)
    assert refusal.value.code == "CTK-E000"
