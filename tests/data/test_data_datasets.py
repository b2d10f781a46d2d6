"""Training patches: aligned, informative, even over patients, the same every time."""

import numpy as np
import pytest
import tensorflow as tf

from ct_keras.data import steps_per_pass, training_patches
from ct_keras.data.body import body_shares
from ct_keras.errors import CtKerasError
from ct_keras.metrics.tissues import body_mask
from ct_keras.phantoms import make_phantom


def coded(case: int, slice_index: int, shape=(64, 64)) -> np.ndarray:
    """Stored values that tell case and slice at every place, and are not air."""
    rows, columns = np.indices(shape)
    return (1024 + 1000 * case + 30 * slice_index + (rows + columns) % 7).astype("i2")


def content(sizes=(3, 12, 30), shape=(64, 64), **same) -> dict:
    return {
        "train": {
            f"case{case}": [(coded(case, i, shape),) * 2 for i in range(count)]
            for case, count in enumerate(sizes)
        }
    }


def arrays(dataset) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(low.numpy(), full.numpy()) for low, full in dataset]


def hu(units) -> np.ndarray:
    return units * 4096 - 1024


def assert_same(first, second) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_shapes_and_units(write_records):
    folder = write_records(content())
    dataset = training_patches(folder, patch_size=24, batch_size=5, steps=3)
    assert dataset.element_spec[0].shape == (5, 24, 24, 1)
    batches = arrays(dataset)
    assert len(batches) == 3 == int(dataset.cardinality())
    for low, full in batches:
        assert low.dtype == full.dtype == np.float32
        assert low.shape == full.shape == (5, 24, 24, 1)
        values = hu(low)
        assert (values >= 0).all()
        np.testing.assert_array_equal(values, np.round(values))


def test_default_steps_are_one_pass(write_records):
    folder = write_records(content())
    assert steps_per_pass(folder, batch_size=32) == 45 * 16 // 32
    dataset = training_patches(folder, patch_size=8)
    assert int(dataset.cardinality()) == len(arrays(dataset)) == 22
    one = write_records(content((1,)), "one")
    assert steps_per_pass(one, batch_size=64) == 1
    assert len(arrays(training_patches(one, patch_size=8, batch_size=64))) == 1


def test_patches_are_the_pixels_of_one_place(write_records):
    """Without augmentation a patch is found in its slice, in low and full alike."""
    generator = np.random.default_rng(0)
    full = generator.integers(1000, 2000, (40, 40)).astype("i2")
    low = (full + 3000).astype("i2")
    folder = write_records({"train": {"a": [(low, full)]}})
    windows = np.lib.stride_tricks.sliding_window_view(full - 1024.0, (9, 9))
    known = {window.tobytes() for row in windows.astype("f4") for window in row}
    places = set()
    for low_patch, full_patch in arrays(
        training_patches(folder, patch_size=9, batch_size=8, steps=8, augment=False)
    ):
        np.testing.assert_allclose(hu(low_patch) - hu(full_patch), 3000, atol=1e-3)
        for patch in hu(full_patch)[..., 0]:
            assert np.float32(patch).tobytes() in known
            places.add(np.float32(patch).tobytes())
    assert len(places) > 50


def test_augmentation_keeps_the_pair_aligned(write_records):
    generator = np.random.default_rng(1)
    images = [generator.integers(1000, 3000, (64, 64)).astype("i2") for _ in range(4)]
    folder = write_records({"train": {"a": [(image, image) for image in images]}})
    for low, full in arrays(training_patches(folder, patch_size=16, steps=10)):
        np.testing.assert_array_equal(low, full)


def test_all_eight_turns_come_equally_often(write_records):
    rows, columns = np.indices((32, 32))
    ramp = (2000 + rows + 40 * columns).astype("i2")
    folder = write_records({"train": {"a": [(ramp, ramp)]}})
    seen: dict[tuple, int] = {}
    for low, _ in arrays(
        training_patches(folder, patch_size=8, batch_size=32, steps=25)
    ):
        for patch in hu(low)[..., 0]:
            steps = (round(patch[1, 0] - patch[0, 0]), round(patch[0, 1] - patch[0, 0]))
            seen[steps] = seen.get(steps, 0) + 1
    wanted = {
        (a * s, b * t) for a, b in ((1, 40), (40, 1)) for s in (1, -1) for t in (1, -1)
    }
    assert set(seen) == wanted
    assert min(seen.values()) > 60  # of 800, 100 each are expected


def test_cases_are_drawn_evenly(write_records):
    """Three patients of 3, 12 and 30 slices give as many patches each."""
    folder = write_records(content())
    cases, places = [], []
    for low, _ in arrays(
        training_patches(
            folder, patch_size=8, batch_size=16, steps=60, patches_per_slice=4
        )
    ):
        values = hu(low).min(axis=(1, 2, 3))
        cases += list(values // 1000)
        places += list(zip(values // 1000, values % 1000 // 30, strict=True))
    counts = np.bincount(np.int64(cases), minlength=3)
    np.testing.assert_array_equal(counts, [320, 320, 320])
    per_slice = {place: places.count(place) for place in set(places)}
    assert len(per_slice) == 45
    largest = [v for (case, _), v in per_slice.items() if case == 2]
    assert min(largest) >= 8  # 80 draws of 30 slices: two or three each
    assert max(largest) <= 12


def test_patches_of_a_batch_come_from_many_slices(write_records):
    folder = write_records(content())
    low, _ = arrays(training_patches(folder, patch_size=8, steps=10))[0]
    assert len(np.unique(hu(low).min(axis=(1, 2, 3)) // 30)) > 8


def half_air(shape=(64, 64)) -> np.ndarray:
    image = np.full(shape, 24, "i2")
    image[:, : shape[1] // 2] = 1064
    return image


@pytest.mark.parametrize("which", ["low", "full"])
def test_air_is_rejected(write_records, which):
    air, tissue = half_air(), np.full((64, 64), 1064, "i2")
    pair = (air, tissue) if which == "low" else (tissue, air)
    folder = write_records({"train": {"a": [pair]}})
    options = {"patch_size": 20, "steps": 12, "seed": 3}
    for batch in arrays(training_patches(folder, **options)):
        for patches in batch:
            assert patches.mean(axis=(1, 2, 3)).min() >= 0.1 - 1e-6
    free = [b for b in arrays(training_patches(folder, reject=False, **options))]
    means = np.concatenate([np.minimum(*batch).mean(axis=(1, 2, 3)) for batch in free])
    assert 0.2 < np.mean(means < 0.1) < 0.6


def thorax(seed=1) -> tuple[np.ndarray, np.ndarray]:
    """Stored values of a thorax phantom at low and full dose, on a table."""
    phantom = make_phantom(
        seed, region="thorax", shape=(1, 160, 160), spacing_mm=(5, 2.4, 2.4)
    )
    full = np.asarray(phantom.hu[0])
    full[146:148] = np.maximum(full[146:148], 100)  # the shell of a table
    noise = np.random.default_rng(seed).normal(0, 60, full.shape)
    return tuple(np.rint(hu + 1024).astype("i2") for hu in (full + noise, full))


def test_lung_is_not_rejected_and_air_is(write_records):
    """The centre of a patch lies anywhere in the body, as often in the lung."""
    low, full = thorax()
    folder = write_records({"train": {"a": [(low, full)]}})
    options = {"patch_size": 16, "batch_size": 50, "steps": 20, "augment": False}
    inside = body_mask(full - 1024.0)
    share = np.lib.stride_tricks.sliding_window_view(inside, (16, 16)).mean((2, 3))
    means = np.lib.stride_tricks.sliding_window_view(full - 1024.0, (16, 16))
    means = means.mean((2, 3))
    deep_lung = (share == 1) & (means < -614)
    accepted = share >= 0.4
    batches = arrays(training_patches(folder, **options))
    patches = np.concatenate([hu(patch)[..., 0] for _, patch in batches])
    of_lung = np.mean(patches.mean((1, 2)) < -614)
    expected = np.mean(means[accepted] < -614)
    assert deep_lung.sum() > 200
    assert of_lung == pytest.approx(expected, abs=0.05)
    # Slices of air around the body remain at the borders of accepted patches only.
    assert np.mean([np.mean(patch < -950) > 0.7 for patch in patches]) < 0.02


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (-0.5, 40)])
def test_the_share_of_body_in_a_box_is_that_of_its_area(slope, intercept):
    """A square of tissue with a hole of air, which counts as body."""
    hu_of = np.full((40, 60), -1000.0)
    hu_of[10:30, 10:30] = 40
    hu_of[18:22, 18:22] = -1000
    stored = np.rint((hu_of - intercept) / slope).astype("i2")
    stored = np.stack([stored, stored[:, ::-1]])
    rescale = np.array([slope, intercept], "f4")
    corners = np.array([[15, 15], [0, 0], [15, 28], [5, 18]], "i4")
    shares = body_shares(*map(tf.constant, (stored, rescale, corners)), size=10)
    # Opening takes less than three pixels from each corner of the square.
    expected = [[1, 0, 0.2, 0.5], [0, 0, 0.8, 0]]
    np.testing.assert_allclose(shares, expected, atol=0.03)


def test_slices_of_air_fall_through(write_records):
    air = np.full((32, 32), 24, "i2")
    folder = write_records({"train": {"a": [(air, air)]}})
    batches = arrays(training_patches(folder, patch_size=16, steps=2))
    assert len(batches) == 2
    assert (batches[0][0] < 0.1).all()


def test_seed_decides(write_records):
    folder = write_records(content())
    options = {"patch_size": 16, "steps": 4}
    first = arrays(training_patches(folder, seed=1, **options))
    assert_same(first, arrays(training_patches(folder, seed=1, **options)))
    other = arrays(training_patches(folder, seed=2, **options))
    assert not np.array_equal(first[0][0], other[0][0])


def test_every_iteration_is_the_next_epoch(write_records):
    """Epochs 2 and 3 are the same whichever way one comes to them."""
    folder = write_records(content())
    options = {"patch_size": 16, "steps": 5, "seed": 4}
    endless = arrays(training_patches(folder, first_epoch=0, **options).take(20))
    resumed = arrays(training_patches(folder, first_epoch=2, **options).take(10))
    assert_same(endless[10:], resumed)
    again = training_patches(folder, **options)
    epochs = [arrays(again) for _ in range(4)]
    assert_same(endless, [batch for epoch in epochs for batch in epoch])
    assert not np.array_equal(epochs[0][0][0], epochs[1][0][0])


def test_fit_takes_it(write_records):
    import keras

    folder = write_records(content((4,)))
    network = keras.Sequential(
        [keras.Input((None, None, 1)), keras.layers.Conv2D(1, 1)]
    )
    network.compile("sgd", "mse")
    patches = training_patches(folder, patch_size=8, steps=2, first_epoch=0)
    history = network.fit(
        patches, epochs=2, steps_per_epoch=2, shuffle=False, verbose=0
    )
    assert len(history.history["loss"]) == 2


def test_slices_of_several_sizes(write_records):
    small, wide = coded(0, 0, (24, 30)), coded(1, 0, (40, 26))
    folder = write_records({"train": {"a": [(small, small)], "b": [(wide, wide)]}})
    batches = arrays(training_patches(folder, patch_size=24, steps=3))
    assert {int(v) for low, _ in batches for v in hu(low).min(axis=(1, 2, 3))} == {
        0,
        1000,
    }
    with pytest.raises(CtKerasError, match=r"CTK-E086.*24 pixels.*25 pixels"):
        training_patches(folder, patch_size=25)
