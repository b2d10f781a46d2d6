"""Choices for a network of few operations: what each is worth after the same training.

    python benchmarks/choices.py CT [--steps 1500] [--width 12] [--only NAME...]

A narrow Quiet-Net is trained on the same low-dose patches of three series (two of 1 mm,
one of 5 mm; 4 to 85 % of the dose) for the noise-free image:

- one slice: as published;
- three slices: the neighbours, with their own noise, are two more channels;
- level: the noise of the input, measured in it, is one more channel;
- contrast: the input is scaled to the same noise first, and back after the network;
- distilled: the loss also compares with the published quiet_net, of seven times the
  operations.

Prints PSNR in the window of the report at the best strength, which is chosen on these
slices, and at strength 1: phantoms, thin slices that overlap, and thick ones.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from doses import PHANTOMS
from keras import ops
from references import fit, psnr_of
from references import loss as noise_free_loss

import ct_keras
from ct_keras import hu
from ct_keras.data.simulated import phantom_pairs, simulated_pairs
from ct_keras.dicom import find_series
from ct_keras.evaluation.strengths import errors_by_strength
from ct_keras.metrics.tissues import body_mask
from ct_keras.models.quiet_net import QuietNet
from ct_keras.progress import track
from ct_keras.simulation import SeriesSimulator, calibrate

SERIES = ("R01-001", "LIDC-IDRI-0314", "CRLM-CT-1004")
#: Series of CT/test and which of their slices are measured, each with its neighbours.
TESTS = {
    "RIDER-Pilot-0117": (2, 5),
    "LungFCP-01-0001": (2, 5),
    "CRLM-CT-1006": (12, 25, 38),
}
CHOICES = ("one slice", "three slices", "level", "contrast", "distilled")
PATCH, BATCH, DRAWN = 64, 16, 6
DOSES = (0.05, 0.25)
_SCALE = 5 / hu.SCALE_HU
#: Noise to which "contrast" scales, and in which "level" counts, HU.
_NOISE_HU = 30.0
#: Second differences along both axes, which are 0 for any plane, and their gain.
_DIFFERENCES = np.outer((1, -2, 1), (1, -2, 1)).astype("float32")[..., None, None] / 6


def training_stacks(ct: Path) -> list[dict]:
    """Every third slice between its neighbours, at drawn doses."""
    random = np.random.default_rng(0)
    teacher = ct_keras.load("quiet_net").at_strength(1)
    found = []
    for name in SERIES:
        (series,) = find_series(ct / "train" / name)
        simulator = SeriesSimulator(series, calibrate(series))
        for index in track(range(1, len(series) - 1, 3), name):
            doses = np.exp(random.uniform(np.log(0.04), np.log(0.85), DRAWN)).tolist()
            stack = [
                simulator.low_doses(place, doses, seed=1)
                for place in (index - 1, index, index + 1)
            ]
            full = series.read(index).hu
            found.append(
                {
                    "doses": doses,
                    "low": np.stack(stack, axis=-1),
                    "full": full,
                    "body": np.argwhere(body_mask(full)),
                    "taught": [teacher(low) for low in stack[1]],
                }
            )
    return found


def patches(stacks: list[dict]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields patches of three slices; reference, low dose, share, scale, teacher."""
    random = np.random.default_rng(1)
    half = PATCH // 2
    while True:
        one = stacks[random.integers(len(stacks))]
        drawn = random.integers(DRAWN)
        row, column = one["body"][random.integers(len(one["body"]))]
        row, column = (int(np.clip(v, half, 512 - half)) for v in (row, column))
        window = np.s_[row - half : row + half, column - half : column + half]
        low = hu.to_network(one["low"][drawn][window])
        full, taught = (
            hu.to_network(image[window])
            for image in (one["full"], one["taught"][drawn])
        )
        middle = low[..., 1]
        share = np.full_like(middle, one["doses"][drawn])
        scale = np.full_like(middle, np.std(middle - full) + _SCALE)
        target = np.stack([full, middle, share, scale, taught], axis=-1)
        turns = random.integers(4)
        yield np.rot90(low, turns).copy(), np.rot90(target, turns).copy()


def noise_level(image):
    """Noise of each image in soft tissue, in units of _NOISE_HU: (batch, 1, 1, 1)."""
    differences = ops.abs(ops.conv(image, _DIFFERENCES, padding="same"))
    inside = ops.cast(ops.abs(image - hu.to_network(0.0)) < 0.1, "float32")
    total = ops.sum(differences * inside, axis=(1, 2, 3), keepdims=True)
    mean = total / (ops.sum(inside, axis=(1, 2, 3), keepdims=True) + 1)
    # The mean of a normal variable's magnitude is 0.8 standard deviations.
    return ops.clip(mean / 0.8 * hu.SCALE_HU / _NOISE_HU, 0.1, 10)


def network(choice: str, width: int) -> keras.Model:
    """A network from three slices to the middle one."""
    stack = keras.Input((None, None, 3))
    middle, beside = stack[..., 1:2], stack[..., ::2]
    level, zero = noise_level(middle), hu.to_network(0.0)
    if choice == "three slices":
        seen = ops.concatenate([middle, beside], axis=-1)
    elif choice == "level":
        seen = ops.concatenate([middle, ops.zeros_like(middle) + level], axis=-1)
    elif choice == "contrast":
        seen = (middle - zero) / level + zero
    else:
        seen = middle
    inner = keras.models.clone_model(
        QuietNet(width), input_tensors=keras.Input((None, None, seen.shape[-1]))
    )
    # The correction is added to every channel; only the middle slice is wanted.
    denoised = inner(seen)[..., :1]
    if choice == "contrast":
        denoised = (denoised - zero) * level + zero
    return keras.Model(stack, denoised)


def loss(choice: str):
    """Mean square of the noise-free residual, relative to the inserted noise."""

    def of(target, denoised):
        found = noise_free_loss(target[..., :4], denoised)
        if choice == "distilled":
            taught = (denoised - target[..., 4:]) / target[..., 3:4]
            found += tf.reduce_mean(tf.square(taught))
        return found

    return of


def train(stacks: list[dict], choice: str, steps: int, width: int) -> keras.Model:
    """Trains a network from the same start on the same patches."""
    keras.utils.set_random_seed(0)
    model = network(choice, width)
    fit(model, loss(choice), lambda: patches(stacks), (3, 5), steps)
    return model


def test_stacks(ct: Path) -> Iterator[tuple[str, float, np.ndarray, np.ndarray]]:
    """Yields set, dose, three low-dose slices (rows, columns, 3) and the reference."""
    sets = {"phantoms": phantom_pairs(PHANTOMS, DOSES, shape=(3, 512, 512), seed=1)}
    for name, places in TESTS.items():
        wanted = {
            index * len(DOSES) + number
            for place in places
            for index in (place - 1, place, place + 1)
            for number in range(len(DOSES))
        }
        series = find_series(ct / "test" / name)[:1]
        sets[name] = simulated_pairs(series, DOSES, seed=1, only=wanted)
    for name, pairs in sets.items():
        lows, fulls = defaultdict(dict), {}
        for pair in pairs:
            lows[pair.case, pair.dose_fraction][pair.slice_index] = pair.low_hu
            fulls[pair.case, pair.slice_index] = pair.full_hu
        for (case, dose), low in lows.items():
            for place in TESTS.get(name, (1,)):
                stack = [low[place + step] for step in (-1, 0, 1)]
                yield name, dose, np.stack(stack, axis=-1), fulls[case, place]


def measure(model: keras.Model, tests: list) -> Iterator[dict]:
    """Yields PSNR for each set and dose."""
    errors = defaultdict(list)
    for name, dose, low, full in tests:
        denoised = model.predict_on_batch(hu.to_network(low)[None])
        images = {
            "low_hu": low[..., 1],
            "denoised_hu": hu.to_hu(np.asarray(denoised)[0, ..., 0]),
        }
        errors[name, dose].append(errors_by_strength(**images, reference_hu=full))
    for (name, dose), found in errors.items():
        yield {"set": name, "dose": dose, **psnr_of(found)}


def main() -> None:
    """Trains and measures each choice, and prints JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ct", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--width", type=int, default=12)
    parser.add_argument("--only", nargs="+", choices=CHOICES, default=CHOICES)
    given = parser.parse_args()
    tests = list(test_stacks(given.ct))
    stacks = training_stacks(given.ct)
    for choice in given.only:
        model = train(stacks, choice, given.steps, given.width)
        for row in measure(model, tests):
            print(json.dumps({"choice": choice, **row}), flush=True)


if __name__ == "__main__":
    main()
