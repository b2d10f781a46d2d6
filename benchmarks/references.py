"""What a network learns from noisy references: three ways to treat their noise.

    python benchmarks/references.py CT [--steps 2000] [--width 12]

A narrow Quiet-Net is trained three times on the same low-dose patches of two thin-slice
series (1 mm every 1 mm; 4 to 85 % of the dose), with the mean squared error relative to
the inserted noise:

- plain: against the slice as it is, with its noise;
- average: against the mean of the slice and its neighbours, 3 or 5 slices;
- noise-free: with the share of the noise that the simulation knows (Moran et al. 2020).

Prints PSNR in the window of the report at strength 1 and at the best strength, which
is chosen on these slices, and the mean gradient of edges relative to the truth's
(phantoms, without noise) or the reference's (slices of CT/test).
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from doses import PHANTOMS, RANGE_HU, groups_of, phantoms, real_pairs

from ct_keras import Denoiser, hu
from ct_keras.dicom import find_series
from ct_keras.evaluation.strengths import STRENGTHS, errors_by_strength
from ct_keras.losses.noise_free import noise_free_residual
from ct_keras.metrics.pixelwise import psnr_of_mse
from ct_keras.metrics.tissues import body_mask
from ct_keras.models.quiet_net import QuietNet
from ct_keras.progress import track
from ct_keras.simulation import SeriesSimulator, calibrate

SERIES = ("R01-001", "LIDC-IDRI-0314")
PATCH, BATCH, DRAWN = 64, 16, 6
#: Name -> neighbours on each side in the mean, and whether the noise share is used.
WAYS = {
    "plain": (0, False),
    "average of 3": (1, False),
    "average of 5": (2, False),
    "noise-free": (0, True),
}
_SCALE = 5 / hu.SCALE_HU


def training_slices(ct: Path) -> list[dict]:
    """Every third slice at drawn doses, with its references."""
    random = np.random.default_rng(0)
    found = []
    for name in SERIES:
        (series,) = find_series(ct / "train" / name)
        simulator = SeriesSimulator(series, calibrate(series))
        volume = np.stack([series.read(index).hu for index in range(len(series))])
        for index in track(range(2, len(series) - 2, 3), name):
            doses = np.exp(random.uniform(np.log(0.04), np.log(0.85), DRAWN)).tolist()
            near = {side: volume[index - side : index + side + 1] for side in (0, 1, 2)}
            found.append(
                {
                    "doses": doses,
                    "low": simulator.low_doses(index, doses, seed=1),
                    "full": volume[index],
                    "body": np.argwhere(body_mask(volume[index])),
                    "means": {
                        side: np.mean(each, axis=0) for side, each in near.items()
                    },
                }
            )
    return found


def patches(slices: list[dict], way: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields patches in the body and targets: reference, low dose, share, scale."""
    neighbours, uses_share = WAYS[way]
    random = np.random.default_rng(1)
    while True:
        one = slices[random.integers(len(slices))]
        drawn = random.integers(DRAWN)
        half = PATCH // 2
        row, column = one["body"][random.integers(len(one["body"]))]
        row, column = (int(np.clip(v, half, 512 - half)) for v in (row, column))
        window = np.s_[row - half : row + half, column - half : column + half]
        low, full, mean = (
            hu.to_network(image[window])
            for image in (one["low"][drawn], one["full"], one["means"][neighbours])
        )
        share = np.full_like(low, one["doses"][drawn] if uses_share else 0.0)
        scale = np.full_like(low, np.std(low - full) + _SCALE)
        turns = random.integers(4)
        stacked = np.rot90(np.stack([low, mean, share, scale], axis=-1), turns)
        yield stacked[..., :1], stacked[..., [1, 0, 2, 3]]


def loss(target, denoised):
    """Mean square of the residual, relative to the noise inserted in each patch."""
    residual = noise_free_residual(
        denoised=denoised,
        low_dose=target[..., 1:2],
        reference=target[..., :1],
        dose_fraction=target[:, 0, 0, 2],
    )
    return tf.reduce_mean(tf.square(residual / target[..., 3:]))


def train(slices: list[dict], way: str, steps: int, width: int) -> Denoiser:
    """Trains a network from the same start on the same patches."""
    keras.utils.set_random_seed(0)
    network = QuietNet(width)
    fit(network, loss, lambda: patches(slices, way), (1, 4), steps)
    return Denoiser(network)


def fit(network: keras.Model, loss, patches, channels, steps: int) -> None:
    """Trains on pairs of patches with so many channels each, Adam with a cosine."""
    rate = keras.optimizers.schedules.CosineDecay(1e-3, steps, alpha=0.02)
    network.compile(keras.optimizers.Adam(rate, clipnorm=1.0), loss)
    spec = tuple(tf.TensorSpec((PATCH, PATCH, n), tf.float32) for n in channels)
    data = tf.data.Dataset.from_generator(patches, output_signature=spec)
    data = data.batch(BATCH).prefetch(4)
    network.fit(data, steps_per_epoch=steps, shuffle=False, verbose=0)


def sharpness(image: np.ndarray, reference: np.ndarray) -> float:
    """Mean gradient along the reference's, at its strongest edges within the body."""
    ours, theirs = np.gradient(image), np.gradient(reference)
    strength = np.hypot(*theirs)
    edges = body_mask(reference) & (strength > 60) & (strength < 400)
    along = sum(a * b for a, b in zip(ours, theirs, strict=True))
    return float(np.sum(along[edges]) / np.sum(np.square(strength)[edges]))


def measure(denoiser: Denoiser, pairs: list) -> Iterator[dict]:
    """Yields PSNR and sharpness for each dose."""
    for dose in sorted({pair.dose_fraction for _, pair in pairs}):
        errors, edges = [], []
        for _, pair in pairs:
            if pair.dose_fraction == dose:
                denoised = denoiser(pair.low_hu)
                images = {"low_hu": pair.low_hu, "denoised_hu": denoised}
                errors.append(errors_by_strength(**images, reference_hu=pair.full_hu))
                edges.append(sharpness(denoised, pair.full_hu))
        mean_edges = round(float(np.mean(edges)), 3)
        yield {"dose": dose, **psnr_of(errors), "edges": mean_edges}


def psnr_of(errors: list[np.ndarray]) -> dict:
    """PSNR in dB of slices as they are, at strength 1, and at the best strength."""
    mean = np.mean(errors, axis=0)
    best = int(np.argmin(mean))
    start, whole, least = (
        round(psnr_of_mse(mean[place], data_range=RANGE_HU), 2)
        for place in (0, -1, best)
    )
    return {
        "slices": len(errors),
        "input": start,
        "strength 1": whole,
        "best": least,
        "best strength": STRENGTHS[best],
    }


def main() -> None:
    """Trains and measures each way, and prints JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ct", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--width", type=int, default=12)
    given = parser.parse_args()
    folders = [path for group in groups_of(given.ct).values() for path in group]
    sets = {"phantoms": phantoms(PHANTOMS), "ct/test": real_pairs(folders, 12)}
    slices = training_slices(given.ct)
    for way in WAYS:
        denoiser = train(slices, way, given.steps, given.width)
        for name, pairs in sets.items():
            for row in measure(denoiser, pairs):
                print(json.dumps({"way": way, "set": name, **row}), flush=True)


if __name__ == "__main__":
    main()
