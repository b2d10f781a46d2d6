"""The segmentation losses of the lecture."""

import keras
import numpy as np
import pytest

from ct_keras.errors import CtKerasError
from ct_keras.losses import (
    SegmentationLoss,
    dice_coefficient,
    dice_loss,
    pixelwise_cross_entropy,
)

#: The lecture's 4x4 example.
PREDICTION = np.float32(
    [
        [0.01, 0.03, 0.02, 0.02],
        [0.05, 0.12, 0.09, 0.07],
        [0.89, 0.85, 0.88, 0.91],
        [0.99, 0.97, 0.95, 0.97],
    ]
).reshape(1, 4, 4, 1)
TRUTH = np.repeat(np.float32([0, 0, 1, 1]), 4).reshape(1, 4, 4, 1)


def _softmax(shape, seed=0):
    logits = np.random.default_rng(seed).normal(size=shape)
    q = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return q.astype(np.float32)


def _numbers(shape, classes, seed=0):
    return np.random.default_rng(seed).integers(0, classes, shape)


def test_worked_example_of_the_lecture():
    pair = {"reference": TRUTH, "prediction": PREDICTION}
    assert (TRUTH * PREDICTION).sum() == pytest.approx(7.41)
    assert float(dice_coefficient(**pair)[0]) == pytest.approx(0.936789, abs=1e-6)
    assert float(dice_loss(**pair)) == pytest.approx(0.0062495, abs=2e-7)
    linear = float(dice_loss(**pair, denominators="linear"))
    assert linear == pytest.approx(0.063211, abs=1e-6)


def test_cross_entropy_is_summed_over_pixels_and_averaged_over_images():
    q, truth = _softmax((3, 5, 4, 6)), _numbers((3, 5, 4), 6)
    chosen = np.take_along_axis(q, truth[..., None], -1)
    expected = -np.log(chosen).sum() / 3
    pair = {"reference": np.eye(6)[truth], "prediction": q}
    assert float(pixelwise_cross_entropy(**pair)) == pytest.approx(expected, rel=1e-5)
    mean = float(pixelwise_cross_entropy(**pair, reduction="mean"))
    assert mean == pytest.approx(expected / 20, rel=1e-5)


def test_dice_loss_is_summed_over_classes_and_averaged_over_images():
    p, truth = _softmax((3, 5, 4, 6)), _numbers((3, 5, 4), 6)
    t = np.eye(6)[truth]

    def expected(axes):
        ratio = 2 * (t * p).sum(axes) / ((t * t).sum(axes) + (p * p).sum(axes))
        return (1 - ratio).sum(-1).mean()

    pair = {"reference": t, "prediction": p}
    assert float(dice_loss(**pair)) == pytest.approx(expected((1, 2)), rel=1e-5)
    batch = float(dice_loss(**pair, over="batch"))
    assert batch == pytest.approx(expected((0, 1, 2)), rel=1e-5)
    assert batch != pytest.approx(expected((1, 2)), rel=1e-4)


@pytest.mark.parametrize("loss", [pixelwise_cross_entropy, dice_loss])
def test_class_numbers_do_as_well_as_one_hot(loss):
    q, truth = _softmax((2, 4, 4, 3)), _numbers((2, 4, 4), 3).astype(np.uint8)
    by_number = loss(reference=truth, prediction=q)
    one_hot = loss(reference=np.eye(3)[truth], prediction=q)
    assert float(by_number) == float(one_hot)


def test_perfect_prediction_costs_nothing_and_an_absent_class_one():
    truth = _numbers((2, 6, 6), 3)
    pair = {"reference": np.eye(3)[truth], "prediction": np.eye(3)[truth]}
    assert float(dice_loss(**pair)) == pytest.approx(0, abs=1e-6)
    assert float(pixelwise_cross_entropy(**pair)) == pytest.approx(0, abs=1e-4)
    pair = {"reference": np.eye(4)[truth], "prediction": np.eye(4)[truth]}
    assert float(dice_loss(**pair)) == pytest.approx(1, abs=1e-6)


def test_half_precision_is_summed_in_float32():
    q = np.full((1, 300, 300, 2), 0.5, np.float16)
    truth = np.zeros((1, 300, 300))
    loss = pixelwise_cross_entropy(reference=truth, prediction=q)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    # Beyond the largest float16, 65,504, for the sum of squares and near it here.
    assert float(loss) == pytest.approx(90_000 * np.log(2), rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"cross_entropy": 0.0, "dice": 1.0},
        {"cross_entropy": 1.0, "dice": 0.0, "pixels": "sum"},
        {"cross_entropy": 0.5, "dice": 2.0, "over": "batch", "denominators": "linear"},
    ],
)
def test_loss_for_compile_is_the_weighted_sum(options):
    q, truth = _softmax((2, 4, 4, 3)), _numbers((2, 4, 4), 3)
    pair = {"reference": truth, "prediction": q}
    expected = options["cross_entropy"] * float(
        pixelwise_cross_entropy(**pair, reduction=options.get("pixels", "mean"))
    ) + options["dice"] * float(
        dice_loss(
            **pair,
            denominators=options.get("denominators", "squared"),
            over=options.get("over", "image"),
        )
    )
    loss = SegmentationLoss(**options)
    again = SegmentationLoss.from_config(loss.get_config())
    assert float(loss(truth, q)) == pytest.approx(expected, rel=1e-6)
    assert float(again(truth, q)) == pytest.approx(expected, rel=1e-6)
    name = keras.saving.get_registered_name(SegmentationLoss)
    assert name == "ct_keras>SegmentationLoss"


@pytest.mark.parametrize("options", [{"dice": 0.0}, {"cross_entropy": 0.0}])
def test_each_term_moves_the_weights(options):
    image = keras.Input((8, 8, 1))
    q = keras.layers.Conv2D(3, 3, padding="same", activation="softmax")(image)
    network = keras.Model(image, q)
    network.compile(keras.optimizers.SGD(0.1), SegmentationLoss(**options))
    before = [np.copy(w) for w in network.get_weights()]
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    network.fit(x, _numbers((2, 8, 8), 3).astype(np.uint8), verbose=0)
    moved = [
        np.abs(a - b).max() for a, b in zip(before, network.get_weights(), strict=True)
    ]
    assert min(moved) > 1e-5


@pytest.mark.parametrize(
    ("loss", "option"),
    [
        (pixelwise_cross_entropy, {"reduction": "max"}),
        (dice_loss, {"denominators": "cubed"}),
        (dice_loss, {"over": "class"}),
    ],
)
def test_unknown_options_are_refused(loss, option):
    with pytest.raises(CtKerasError) as refusal:
        loss(reference=TRUTH, prediction=PREDICTION, **option)
    assert refusal.value.code == "CTK-E000"
    assert next(iter(option.values())) in str(refusal.value)
