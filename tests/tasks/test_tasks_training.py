"""Phantom data for tasks, measures, and training on them."""

import json

import keras
import numpy as np
import pytest

import ct_keras
from ct_keras import tasks
from ct_keras.errors import CtKerasError
from ct_keras.hu import to_network
from ct_keras.phantoms import LABELS, make_phantom
from ct_keras.simulation import DoseSimulator
from ct_keras.tasks.training import Batches, train

ORGANS_SMALL = {"slices": 2, "pixels": 32, "slice_mm": 40.0}
LESIONS_SMALL = {"slices": 4, "pixels": 64, "crop": 16, "draws": 1}


@pytest.fixture(scope="module")
def organs():
    return tasks.organ_slices([5], doses=(1.0, 0.05), **ORGANS_SMALL)


@pytest.fixture(scope="module")
def lesions():
    return tasks.lesion_crops([5, 6], doses=(1.0, 0.05), **LESIONS_SMALL)


@pytest.fixture
def noise_free(monkeypatch):
    """Scans without noise, so that what is shown can be told exactly."""

    def low_doses(self, hu, doses, **options):
        return [np.array(hu, np.float32) for _ in doses]

    monkeypatch.setattr(DoseSimulator, "low_doses", low_doses)


def test_classes_are_the_tissues_of_each_organ():
    phantom = make_phantom(5, region="abdomen", shape=(3, 48, 48))
    classes = tasks.organ_classes(phantom.labels)
    for number, tissues in enumerate(tasks.ORGANS.values(), start=1):
        expected = np.isin(phantom.labels, [LABELS[tissue] for tissue in tissues])
        assert np.array_equal(classes == number, expected)
    background = {"air", "fat", "muscle", "skin", "stomach", "table", "disc"}
    assert not classes[np.isin(phantom.labels, [LABELS[t] for t in background])].any()
    listed = [tissue for tissues in tasks.ORGANS.values() for tissue in tissues]
    assert len(listed) == len(set(listed))


def test_slices_show_both_regions_at_all_doses(organs):
    assert organs.hu.shape == (8, 32, 32)
    assert organs.dose == pytest.approx([1, 0.05] * 4)
    assert np.array_equal(organs.truth[0::2], organs.truth[1::2])
    full, low = organs.at_dose(1.0), organs.at_dose(0.05)
    assert len(full) == len(low) == 4
    spread = (low.hu - full.hu)[full.truth == 1].std()
    assert spread > 5 * 1.5
    names = list(tasks.ORGANS)
    thorax, abdomen = full.truth[:2], full.truth[2:]
    assert (thorax == 1 + names.index("heart")).any()
    assert (abdomen == 1 + names.index("liver")).any()
    assert not (thorax == 1 + names.index("kidney")).any()


def test_networks_see_network_units(organs):
    assert organs.inputs.shape == (8, 32, 32, 1)
    assert organs.inputs[..., 0] == pytest.approx(to_network(organs.hu))


def test_seeds_decide_images_and_noise(organs):
    again = tasks.organ_slices([5], doses=(1.0, 0.05), **ORGANS_SMALL)
    assert np.array_equal(again.hu, organs.hu)
    # The noise of one dose does not depend on which others are asked for.
    alone = tasks.organ_slices([5], doses=(0.05,), **ORGANS_SMALL)
    assert np.array_equal(alone.hu, organs.at_dose(0.05).hu)


def test_half_of_the_pieces_hold_a_lesion(lesions):
    at_full = lesions.at_dose(1.0)
    assert len(at_full) >= 8
    assert at_full.truth.tolist() == [1, 0] * (len(at_full) // 2)
    assert set(lesions.patient) == {5, 6}
    assert lesions.hu.shape[1:] == (16, 16)
    # Noise of its own in each of the two: far from the lesion they differ too.
    corner = at_full.hu[0::2, :2, :2] - at_full.hu[1::2, :2, :2]
    assert np.abs(corner).min() > 0


def test_only_the_lesion_tells_the_two_pieces_apart(noise_free):
    options = LESIONS_SMALL | {"jitter": 0, "pixels": 128}
    pieces = tasks.lesion_crops([5, 6], contrast_hu=20.0, **options)
    lesion = pieces.hu[0::2] - pieces.hu[1::2]
    middle = lesion[:, 7:9, 7:9].mean((1, 2))
    # Small ones lose some of it to the blur and to the thickness of the slice.
    assert np.abs(middle).max() == pytest.approx(20, abs=4)
    assert (np.abs(middle) > 5).all()
    outside = np.ones((16, 16), bool)
    outside[2:-2, 2:-2] = False
    assert np.abs(lesion[:, outside]).mean() < 2
    doubled = tasks.lesion_crops([5, 6], contrast_hu=40.0, **options)
    assert doubled.hu[1::2] == pytest.approx(pieces.hu[1::2])
    assert doubled.hu[0::2] - doubled.hu[1::2] == pytest.approx(2 * lesion, abs=1e-3)


def test_denoising_is_done_on_whole_noisy_slices():
    shapes = []

    def denoise(hu_in):
        shapes.append(hu_in.shape)
        return hu_in + 7

    options = {"doses": (0.05,), **LESIONS_SMALL}
    plain = tasks.lesion_crops([6], **options)
    moved = tasks.lesion_crops([6], denoise=denoise, **options)
    assert moved.hu == pytest.approx(plain.hu + 7, abs=1e-3)
    assert shapes == [(64, 64)] * len(plain)
    moved = tasks.organ_slices([6], denoise=denoise, **ORGANS_SMALL)
    assert moved.hu == pytest.approx(tasks.organ_slices([6], **ORGANS_SMALL).hu + 7)


def test_dice_is_averaged_over_the_patients_that_have_the_organ():
    truth = np.array([[1, 1, 2, 0], [1, 0, 0, 0], [0, 0, 0, 0]])[:, None]
    found = np.array([[1, 0, 2, 0], [1, 1, 1, 0], [0, 3, 0, 1]])[:, None]
    patients = np.array([7, 8, 9])
    result = tasks.dice_by_class(truth, found, patients, ("a", "b", "c"))
    # Patient 7: 2 * 1 / 3; patient 8: 2 * 1 / 4; patient 9 has none.
    assert result["a"] == pytest.approx((2 / 3 + 2 / 4) / 2)
    assert result["b"] == 1
    assert np.isnan(result["c"])


class _Fixed(keras.layers.Layer):
    """Says the image's own values as class numbers."""

    def call(self, inputs):
        return keras.ops.one_hot(keras.ops.cast(inputs[..., 0], "int32"), 8)


def test_measure_counts_images_and_patients(organs):
    image = keras.Input((None, None, 1))
    network = keras.Model(image, _Fixed()(image))

    class Perfect(tasks.TaskData):
        @property
        def inputs(self):
            return self.truth[..., None].astype(np.float32)

    data = Perfect(
        organs.hu, organs.truth, organs.dose, organs.patient, tuple(tasks.ORGANS)
    )
    found = tasks.measure(network, data)
    assert found["mean_dice"] == 1
    assert (found["images"], found["patients"]) == (8, 1)
    assert list(found["dice"]) == list(tasks.ORGANS)


@pytest.mark.parametrize(
    ("augment", "positions"), [("none", 1), ("mirror", 2), ("flips", 4), ("turns", 8)]
)
def test_augmentation_moves_image_and_truth_alike(augment, positions):
    hu_in = np.arange(16.0, dtype=np.float32).reshape(1, 4, 4) * 100
    truth = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    data = tasks.TaskData(hu_in, truth, np.ones(1), np.zeros(1, int), ())
    batches, seen = Batches(data, 1, augment, seed=3), set()
    for _ in range(100):
        inputs, classes = batches[0]
        expected = to_network(classes.astype(np.float32) * 100)
        assert inputs[..., 0] == pytest.approx(expected)
        seen.add(classes.tobytes())
        batches.on_epoch_end()
    assert len(seen) == positions


def test_each_epoch_has_every_image_once_in_another_order():
    hu_in = np.zeros((12, 2, 2), np.float32)
    truth = np.arange(12, dtype=np.uint8)
    data = tasks.TaskData(hu_in, truth, np.ones(12), np.zeros(12, int), ())
    batches, orders = Batches(data, 4, "none", seed=0), []
    for _ in range(3):
        orders.append([int(t) for i in range(len(batches)) for t in batches[i][1]])
        batches.on_epoch_end()
    assert all(sorted(order) == list(range(12)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    again = Batches(data, 4, "none", seed=0)
    assert [int(t) for i in range(3) for t in again[i][1]] == orders[0]


SEGMENTATION = {
    "epochs": 2,
    "options": {"width": 2, "levels": 3},
    "data": {"train": (5, 6), "test": (6, 7), **ORGANS_SMALL},
}


def test_segmentation_from_phantoms_to_a_folder(tmp_path):
    result = tasks.train_segmentation(**SEGMENTATION, out=tmp_path / "run")
    written = json.loads((tmp_path / "run" / "measures.json").read_text())
    assert written["measures"] == json.loads(json.dumps(result.measures))
    assert list(result.measures) == ["1", "0.05"]
    assert set(result.measures["1"]["dice"]) == set(tasks.ORGANS)
    assert len(result.history) == 2
    assert written["recipe"]["data"]["pixels"] == 32
    held_out = tasks.organ_slices([6], doses=(0.05,), **ORGANS_SMALL)
    network = keras.saving.load_model(tmp_path / "run" / "network.keras")
    assert tasks.measure(network, held_out) == result.measures["0.05"]


def _blobs(patient, count=64):
    """Noise, and a blob in every other image."""
    hu_in = 30 * np.random.default_rng(patient).normal(size=(count, 16, 16)) + 60
    hu_in[::2, 6:10, 6:10] += 120
    truth = np.tile(np.array([1, 0], np.uint8), count // 2)
    seeds = np.full(count, patient)
    return tasks.TaskData(
        hu_in.astype(np.float32), truth, np.ones(count), seeds, ("lesion",)
    )


def test_classification_learns_what_can_be_seen_and_repeats_itself():
    spec = tasks.get_task("lesion_net")
    recipe = spec.recipe("quick").changed(
        options={"width": 4}, epochs=30, batch_size=8, learning_rate=1e-2
    )

    def run(recipe):
        return train(spec, recipe, train_data=_blobs(1), test_data=_blobs(2))

    result = run(recipe)
    assert result.history[-1] < 0.5 * result.history[0]
    assert result.measures["1"]["auc"] > 0.9
    short = recipe.changed(epochs=2)
    assert run(short).history == pytest.approx(run(short).history, rel=1e-4)


def test_a_patient_may_not_be_in_both_splits():
    data = {"train": (5, 7), "test": (6, 7), **ORGANS_SMALL}
    with pytest.raises(CtKerasError) as refusal:
        tasks.train_segmentation(**SEGMENTATION | {"data": data})
    assert refusal.value.code == "CTK-E083"


def test_recipes_keep_patients_apart():
    for name in tasks.list_tasks():
        for recipe in tasks.get_task(name).recipes:
            first, second = (range(*recipe.data[s]) for s in ("train", "test"))
            assert not set(first) & set(second)
            assert len(first) and len(second)


def test_a_network_is_trained_for_what_it_is_made_for():
    with pytest.raises(CtKerasError) as refusal:
        tasks.train_segmentation("alexnet")
    assert refusal.value.code == "CTK-E000"
    assert "unet" in str(refusal.value)


def test_weight_decay_pulls_kernels_and_leaves_biases(organs):
    from ct_keras.tasks.training import _compile

    spec = tasks.get_task("fcn8s")
    recipe = spec.recipe("paper")
    network = spec.builder(width=2, classes=8, image_size=(32, 32), padding="same")
    _compile(network, spec, recipe, 10)
    kernel = np.asarray(network.get_layer("conv3_2").kernel)
    squares = sum(
        float((np.asarray(layer.kernel) ** 2).sum())
        for layer in network.layers
        if layer.trainable_weights
    )
    assert sum(map(float, network.losses)) == pytest.approx(2.5e-4 * squares, rel=1e-4)
    assert len(network.losses) == 18
    assert np.abs(kernel).max() > 0


def test_rooms_are_public():
    assert ct_keras.tasks is tasks
    assert ct_keras.losses.dice_loss
