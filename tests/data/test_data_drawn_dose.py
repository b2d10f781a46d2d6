"""Doses that are drawn and simulated while the records are read."""

import numpy as np
import pytest

from ct_keras.data import convert, read_manifest, training_patches
from ct_keras.data.drawn_dose import draw_dose
from ct_keras.data.reading import iterate_pairs
from ct_keras.data.records import decode, encode
from ct_keras.errors import CtKerasError
from ct_keras.simulation import SlicePhysics

SIDE = 96


@pytest.fixture
def single_records(write_ct, key_file, tmp_path):
    """Writes records of simulated pairs of a noisy or a noise-free disc."""

    def write(*, sd=12.0, name="records", edit=None, **options):
        source = tmp_path / f"src-{name}"
        write_ct(source / "train/A", slices=2, sd=sd, edit=edit, kernel="B30f")
        values = {"layout": "single", "split": "folders", "doses": (0.25,)}
        values |= {"workers": 1, "hash_key_file": key_file}
        return convert(source, tmp_path / name, **values | options).folder

    return write


def records_of(folder) -> list:
    import tensorflow as tf

    (path,) = folder.glob("*train*")
    return [decode(item.numpy()) for item in tf.data.TFRecordDataset(str(path))]


def seeds(number: int) -> np.ndarray:
    return np.array([number, -7])


def middle_sd(low, record) -> float:
    """SD of the inserted noise around the middle, HU."""
    part = (slice(28, 68),) * 2
    return float((low.astype(float) - record.full)[part].std())


def test_records_hold_the_physics_of_their_scan(single_records):
    def pad(dataset, _):
        values = dataset.pixel_array.copy()
        values[:20, :20] = -2000
        dataset.PixelData, dataset.PixelPaddingValue = values.tobytes(), -2000
        dataset["PixelPaddingValue"].VR = "SS"

    folder = single_records(
        edit=pad, simulation={"photons": 3e4, "electronic_noise": 7.0}
    )
    assert all(shard.physics for shard in read_manifest(folder).shards)
    record = records_of(folder)[0]
    assert record.physics.photons == pytest.approx(3e4)
    assert record.physics.electronic_noise == 7.0
    assert record.physics.noise_free is False
    np.testing.assert_array_equal(
        np.argwhere(record.padding)[[0, -1]], [[0, 0], [19] * 2]
    )
    assert record.padding.sum() == 400
    (again,) = [decode(encode(record))]
    assert again.physics == record.physics
    np.testing.assert_array_equal(again.padding, record.padding)
    assert 0.2 < record.noise_share <= 0.25
    pair = next(iterate_pairs(folder, "train"))
    assert pair.noise_share == pytest.approx(record.noise_share)
    low, _ = draw_dose(record, (0.1, 0.1), seeds(1))
    floor = (-1024 - record.rescale_intercept) / record.rescale_slope
    assert (low[:20, :20] == floor).all()


def test_resampled_records_have_no_physics(single_records):
    folder = single_records(resample_mm=1.0)
    assert not any(shard.physics for shard in read_manifest(folder).shards)
    assert all(shard.noise_shares for shard in read_manifest(folder).shards)
    with pytest.raises(CtKerasError, match="CTK-E085"):
        training_patches(folder, patch_size=16, doses=(0.1, 0.5))


def test_a_drawn_dose_has_the_noise_of_the_simulator(single_records):
    record = records_of(
        single_records(simulation={"photons": 2e4, "electronic_noise": 3.0})
    )[0]
    simulator = record.physics.simulator((SIDE, SIDE), record.spacing_mm)
    hu = record.full * np.float32(record.rescale_slope) + record.rescale_intercept
    part = (slice(28, 68),) * 2
    for dose in (0.1, 0.5):
        drawn = [draw_dose(record, (dose, dose), seeds(n)) for n in range(6)]
        total, held = (simulator.noise_sd(hu, dose=d)[part] for d in (dose, 1.0))
        expected = np.sqrt(np.mean(total**2 - held**2))
        found = np.sqrt(np.mean([middle_sd(low, record) ** 2 for low, _ in drawn]))
        assert found == pytest.approx(expected, rel=0.06)
        assert drawn[0][1] == pytest.approx(dose, rel=0.1)
        assert not np.array_equal(drawn[0][0], drawn[1][0])


def test_doses_are_log_uniform_and_scans_stay_below_full_dose(single_records):
    record = records_of(single_records(simulation={"electronic_noise": 0.0}))[0]
    shares = [draw_dose(record, (0.02, 1.0), seeds(n))[1] for n in range(60)]
    assert 0.02 <= min(shares) < 0.05
    assert 0.4 < max(shares) <= 0.85
    middle = np.sqrt(0.02 * 0.85)
    assert 18 <= sum(share < middle for share in shares) <= 42


def test_a_slice_without_noise_is_seen_by_other_scanners(single_records):
    record = records_of(single_records(sd=0.0))[0]
    assert record.physics.noise_free
    assert record.noise_share == 0
    drawn = [draw_dose(record, (0.2, 0.2), seeds(n)) for n in range(12)]
    assert {share for _, share in drawn} == {0.0}
    levels = [middle_sd(low, record) for low, _ in drawn]
    assert max(levels) > 1.8 * min(levels)
    generator = np.random.default_rng(0)
    others = [record.physics.varied(generator) for _ in range(50)]
    assert all(isinstance(other, SlicePhysics) for other in others)
    sharpest = max(other.kernel[0] for other in others)
    assert min(other.kernel[0] for other in others) < 3.4 < 5.2 < sharpest


def test_batches_repeat_and_epochs_differ(single_records):
    folder = single_records()

    def batches(epoch, **options):
        values = {"patch_size": 32, "batch_size": 4, "steps": 2, "first_epoch": epoch}
        stream = training_patches(folder, doses=(0.1, 0.5), **values | options)
        return [[part.numpy() for part in batch] for batch in stream.take(2)]

    first, again, next_epoch = batches(3), batches(3), batches(4)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    assert not np.array_equal(first[0][0], next_epoch[0][0])
    (low, targets), _ = batches(3, noise_free_targets=True)
    assert targets.shape == (4, 32, 32, 3)
    np.testing.assert_array_equal(low, first[0][0])
    np.testing.assert_array_equal(targets[..., :1], first[0][1])
    np.testing.assert_array_equal(targets[..., 1:2], low)
    shares = targets[..., 2]
    assert (shares == shares[:, :1, :1]).all()
    assert ((shares > 0.05) & (shares < 0.5)).all()


def test_targets_of_the_noise_free_loss_at_the_recorded_dose(single_records):
    folder = single_records(simulation={"electronic_noise": 0.0})
    stream = training_patches(
        folder, patch_size=32, batch_size=4, steps=1, noise_free_targets=True
    )
    ((_, targets),) = list(stream)
    np.testing.assert_allclose(targets[..., 2], 0.25, rtol=1e-5)


@pytest.mark.parametrize("doses", [(0.5, 0.1), (0.0, 0.5), (0.9, 1.0)])
def test_invalid_ranges(single_records, doses):
    with pytest.raises(CtKerasError, match="CTK-E000"):
        training_patches(single_records(), patch_size=16, doses=doses)


def test_records_without_a_dose_are_refused(write_records):
    image = np.full((32, 32), 1000, "i2")
    folder = write_records({"train": {"a": [(image, image)]}})
    for options in ({"doses": (0.1, 0.5)}, {"noise_free_targets": True}):
        with pytest.raises(CtKerasError, match="CTK-E085"):
            training_patches(folder, patch_size=16, **options)


def test_an_artificial_noise_has_no_dose(single_records):
    noise = {"kind": "gaussian", "sigma": 0.1}
    with pytest.raises(CtKerasError, match="CTK-E000"):
        training_patches(single_records(), patch_size=16, noise=noise, doses=(0.1, 0.5))
