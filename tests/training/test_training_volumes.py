"""Runs of a network of volumes: sub-volumes in, whole stacks of slices validated."""

import csv
import json
import shutil

import keras
import numpy as np
import pytest
from keras import layers

import ct_keras
from ct_keras import models
from ct_keras.data import iterate_pairs
from ct_keras.models import ModelSpec, Recipe
from ct_keras.training import train
from ct_keras.training.examples import training_examples
from ct_keras.training.validation import VolumePair, fixed_volumes, validate

RECIPE = Recipe(
    name="quick",
    description="Small enough for a test.",
    patch_size=32,
    batch_size=2,
    epochs=2,
    steps_per_epoch=3,
    learning_rate=1e-3,
    depth=2,
)


def residual_network(width=2, name="residual3d"):
    image = keras.Input((None, None, None, 1), name="low_dose")
    x = layers.Conv3D(width, 3, padding="same", activation="relu", name="conv1")(image)
    x = layers.Conv3D(1, 3, padding="same", kernel_initializer="zeros", name="conv2")(x)
    x = layers.Add(name="denoised", dtype="float32")([image, x])
    return keras.Model(image, x, name=name)


SPEC = ModelSpec(
    name="residual3d",
    builder=residual_network,
    title="",
    paper="",
    file="",
    receptive_field=5,
    dimensions=3,
    recipes=(RECIPE,),
)


@pytest.fixture(scope="module", autouse=True)
def registered():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models._SPECS, SPEC.name, SPEC)
        yield


def _train(records, out, **options):
    settings = {"recipe": "quick", "validation_slices": 2, "seed": 5} | options
    return train(SPEC.name, records, out=out, **settings)


@pytest.fixture(scope="module")
def finished(phantom_records, tmp_path_factory):
    return _train(phantom_records, tmp_path_factory.mktemp("runs") / "run")


def test_a_run_keeps_a_denoiser_of_volumes(finished, phantom_records):
    denoiser = ct_keras.load(finished.run)
    assert denoiser.dimensions == 3
    assert denoiser.tiling.halo == 2
    pairs = fixed_volumes(phantom_records, "val", 2, depth=2)
    again = validate(denoiser, pairs)
    assert again.psnr == pytest.approx(finished.best["val_psnr"], abs=1e-6)
    assert again.rmse_hu == pytest.approx(finished.best["val_rmse_hu"], abs=1e-6)
    rows = list(csv.DictReader((finished.run / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    config = json.loads((finished.run / "config.json").read_text())
    assert config["recipe"]["depth"] == 2


def test_resume_ends_alike(finished, phantom_records, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished.run, run)
    newest = run / "checkpoints" / "ckpt-00002"
    with np.load(newest / "arrays.npz") as arrays:
        expected = {name: arrays[name] for name in arrays.files}
    shutil.rmtree(newest)
    _train(phantom_records, run, resume=True)
    with np.load(newest / "arrays.npz") as arrays:
        assert all(np.array_equal(arrays[name], expected[name]) for name in expected)


def test_fixed_volumes_are_stacks_of_the_records(phantom_records):
    pairs = list(iterate_pairs(phantom_records, "train"))
    assert len(pairs) == 6  # two patients of three slices
    low = np.stack([pair.low_hu for pair in pairs])
    full = np.stack([pair.full_hu for pair in pairs])

    def stacks(count, depth):
        found = fixed_volumes(phantom_records, "train", count, depth)
        for volume in found:
            (first,) = (i for i, x in enumerate(low) if (x == volume.low_hu[0]).all())
            depth_found = len(volume.low_hu)
            assert np.array_equal(volume.low_hu, low[first : first + depth_found])
            assert np.array_equal(volume.full_hu, full[first : first + depth_found])
            yield first, depth_found

    assert list(stacks(1, 2)) == [(0, 2), (3, 2)]
    assert list(stacks(5, 1)) == [(0, 1), (1, 1), (2, 1), (4, 1), (5, 1)]
    # A series that is shorter than a stack makes a stack of what it has.
    assert list(stacks(16, 40)) == [(0, 3), (3, 3)]


def test_volumes_are_measured_slice_by_slice(phantom_records):
    pairs = list(iterate_pairs(phantom_records, "val"))
    volume = VolumePair(
        np.stack([pair.low_hu for pair in pairs]),
        np.stack([pair.full_hu for pair in pairs]),
    )
    by_slice = validate(lambda hu: hu / 2, pairs)
    assert validate(lambda hu: hu / 2, [volume]) == by_slice


@pytest.mark.parametrize("depth", [None, 2])
def test_noise_of_the_recipe_takes_the_place_of_the_low_dose(phantom_records, depth):
    from dataclasses import replace

    def largest_difference(noise):
        recipe = replace(RECIPE, depth=depth, noise=noise)
        options = {"seed": 0, "steps": 1, "first_epoch": None}
        ((low, full),) = training_examples(recipe, phantom_records, **options)
        assert low.shape[0] == 2
        assert low.shape.rank == (4 if depth is None else 5)
        return float(np.abs(low.numpy() - full.numpy()).max())

    assert largest_difference({"kind": "gaussian", "sigma": 0.0}) == 0
    assert largest_difference(None) > 1e-3
