"""Trains task networks on phantoms and measures them on held-out patients."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.files import atomic_folder, check_output_folder, write_text
from ct_keras.losses import SegmentationLoss
from ct_keras.metrics.statistics import auc
from ct_keras.tasks.affine import random_affine, warp
from ct_keras.tasks.measures import dice_by_class
from ct_keras.tasks.phantom_data import TaskData, lesion_crops, organ_slices
from ct_keras.tasks.recipes import TaskRecipe, TaskSpec
from ct_keras.training.callbacks import ProgressBar

_WARMUP_SHARE = 0.05
_MEASURE_BATCH = 16


@dataclass(frozen=True, eq=False)
class TaskResult:
    """A trained task network and its performance.

    Attributes:
        network: The network, in network units.
        measures: Dose -> result of `measure` in the held-out patients.
        history: Loss of each epoch.
        recipe: The recipe of its training.
    """

    network: keras.Model
    measures: dict[str, dict]
    history: list[float]
    recipe: TaskRecipe


def make_data(spec: TaskSpec, recipe: TaskRecipe, split: str, **options) -> TaskData:
    """Makes the images of a recipe.

    Args:
        spec: The network.
        recipe: One of its recipes.
        split: "train" or "test"; they share no patient.
        **options: Arguments of `organ_slices` or `lesion_crops`, for example `denoise`.
    """
    settings = dict(recipe.data)
    ranges = {name: settings.pop(name) for name in ("train", "test")}
    if split == "test":
        settings["doses"] = recipe.test_doses
    make = organ_slices if spec.kind == "segmentation" else lesion_crops
    return make(range(*ranges[split]), **(settings | options))


def train(
    spec: TaskSpec,
    recipe: TaskRecipe,
    *,
    train_data: TaskData | None = None,
    test_data: TaskData | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = False,
) -> TaskResult:
    """Trains a network for all epochs of a recipe, then measures it at every dose.

    Args:
        spec: The network.
        recipe: The recipe; its data are generated unless given.
        train_data: Data that replace the recipe's.
        test_data: Data that replace the recipe's.
        seed: Seed of initial weights, order of images, dropout and augmentation.
        out: A new or empty folder for network.keras and measures.json.
        progress: Whether progress bars are shown.

    Raises:
        CtKerasError: CTK-E083 if a patient is in both splits, CTK-E071 if `out` is not
            empty.
    """
    if out is not None:
        check_output_folder(out, fix="choose another folder")
    _check_disjoint(
        _patients(recipe, "train", train_data), _patients(recipe, "test", test_data)
    )
    if train_data is None:
        train_data = make_data(spec, recipe, "train", progress=progress)
    if test_data is None:
        test_data = make_data(spec, recipe, "test", progress=progress)
    keras.utils.set_random_seed(seed)
    network = spec.builder(**recipe.options)
    batches = Batches(train_data, recipe.batch_size, recipe.augment, seed)
    _compile(network, spec, recipe, len(batches))
    callbacks = [ProgressBar(recipe.epochs, len(batches), 0)] if progress else []
    history = network.fit(
        batches, epochs=recipe.epochs, callbacks=callbacks, shuffle=False, verbose=0
    )
    measures = {
        f"{dose:g}": measure(network, test_data.at_dose(dose))
        for dose in np.unique(test_data.dose)[::-1]
    }
    losses = [float(loss) for loss in history.history["loss"]]
    result = TaskResult(network, measures, losses, recipe)
    if out is not None:
        _write(Path(out), spec, result, seed)
    return result


def measure(network: keras.Model, data: TaskData) -> dict:
    """Measures a task network.

    Args:
        network: The network, in network units.
        data: Whole slices with organs, or crops with and without lesions. To judge a
            denoiser, generate them with `denoise=`.

    Returns:
        For segmentation "mean_dice", the mean over organs, and "dice" of each; for
        classification "auc", from the probability of the last class. For both "images"
        and "patients".
    """
    found = network.predict(data.inputs, batch_size=_MEASURE_BATCH, verbose=0)
    counts = {"images": len(data), "patients": len(np.unique(data.patient))}
    if data.truth.ndim == 1:
        present, absent = (found[data.truth == there, -1] for there in (1, 0))
        return {"auc": auc(present, absent)} | counts
    classes = np.argmax(found, axis=-1).astype(np.uint8)
    by_organ = dice_by_class(data.truth, classes, data.patient, data.names)
    mean = float(np.nanmean(list(by_organ.values())))
    return {"mean_dice": mean, "dice": by_organ} | counts


class Batches(keras.utils.PyDataset):
    """Batches of images in network units with ground truth, in an order set by a seed.

    Args:
        data: All images.
        batch_size: Images in a batch; an incomplete last batch is dropped.
        augment: "none", "mirror", "flips" (mirror images and half turns), "turns"
            (flips and quarter turns, all eight symmetries of a square), or "affine"
            (mirror images, rotation, shear and scaling).
        seed: Determines order and augmentation of every epoch.
    """

    def __init__(self, data: TaskData, batch_size: int, augment: str, seed: int):
        super().__init__()
        if augment not in ("none", "mirror", "flips", "turns", "affine"):
            raise CtKerasError("CTK-E000", "unknown augmentation", received=augment)
        self._inputs, self._truth = data.inputs, data.truth
        self._batch_size = min(batch_size, len(data))
        self._augment, self._seed, self._epoch = augment, seed, 0
        self._shuffle()

    def __len__(self) -> int:
        return len(self._inputs) // self._batch_size

    def __getitem__(self, index: int):
        start = index * self._batch_size
        rows = self._order[start : start + self._batch_size]
        inputs, truth = self._inputs[rows], self._truth[rows]
        rng = np.random.default_rng([self._seed, self._epoch, index])
        return self._turn(inputs, truth, rng)

    def on_epoch_end(self):
        """Draws the order of the next epoch."""
        self._epoch += 1
        self._shuffle()

    def _shuffle(self):
        rng = np.random.default_rng([self._seed, self._epoch])
        self._order = rng.permutation(len(self._inputs))

    def _turn(self, inputs, truth, rng):
        arrays = [inputs] if truth.ndim == 1 else [inputs, truth]
        mirror, half, quarter = rng.random(3) < 0.5
        if self._augment != "none" and mirror:
            arrays = [array[:, :, ::-1] for array in arrays]
        if self._augment in ("flips", "turns") and half:
            arrays = [array[:, ::-1, ::-1] for array in arrays]
        if self._augment == "turns" and quarter:
            arrays = [np.rot90(array, axes=(1, 2)) for array in arrays]
        if self._augment == "affine":
            moves = [random_affine(rng) for _ in inputs]
            arrays = [np.stack(list(map(warp, array, moves))) for array in arrays]
        return (arrays[0], truth) if truth.ndim == 1 else tuple(arrays)


def _compile(
    network: keras.Model, spec: TaskSpec, recipe: TaskRecipe, steps: int
) -> None:
    rate = recipe.learning_rate
    if recipe.final_learning_rate is not None:
        total = steps * recipe.epochs
        warmup = int(_WARMUP_SHARE * total)
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 100,
            total - warmup,
            alpha=recipe.final_learning_rate / rate,
            warmup_target=rate,
            warmup_steps=warmup,
        )
    if recipe.momentum is None:
        optimizer = keras.optimizers.Adam(rate)
    else:
        optimizer = keras.optimizers.SGD(rate, momentum=recipe.momentum)
    if recipe.weight_decay:
        # Half of the sum of squares, whose gradient is the decay times the weight,
        # within the momentum as in the papers; biases have no decay.
        penalty = keras.regularizers.L2(recipe.weight_decay / 2)
        for layer in network.layers:
            if layer.trainable_weights and hasattr(layer, "kernel"):
                layer.kernel.regularizer = penalty
    loss = "sparse_categorical_crossentropy"
    if spec.kind == "segmentation":
        loss = SegmentationLoss(**recipe.loss)
    network.compile(optimizer, loss, jit_compile=False)


def _patients(recipe: TaskRecipe, split: str, data: TaskData | None) -> np.ndarray:
    """Seeds of the patients of a split."""
    return np.arange(*recipe.data[split]) if data is None else data.patient


def _check_disjoint(train_patients: np.ndarray, test_patients: np.ndarray) -> None:
    shared = np.intersect1d(train_patients, test_patients)
    if len(shared):
        raise CtKerasError(
            "CTK-E083",
            "a patient is in both training and test data",
            received=f"patient seeds {', '.join(map(str, shared[:5]))}",
        )


def _write(out: Path, spec: TaskSpec, result: TaskResult, seed: int) -> None:
    document = {
        "network": spec.name,
        "recipe": result.recipe.to_plain(),
        "seed": seed,
        "loss": result.history,
        "measures": result.measures,
    }
    with atomic_folder(out, kind="task network") as folder:
        result.network.save(folder / "network.keras")
        write_text(folder / "measures.json", json.dumps(document, indent=1) + "\n")
