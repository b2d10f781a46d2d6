"""Validation on whole slices, in Hounsfield units.

A network of volumes is measured on stacks of consecutive slices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ct_keras import hu
from ct_keras.data import SlicePair, count_slices, iterate_pairs, read_manifest
from ct_keras.data.noises import DrawnNoise
from ct_keras.data.runs import consecutive_runs, read_places
from ct_keras.metrics.tissues import TISSUES, body_mask


@dataclass(frozen=True)
class VolumePair:
    """Consecutive slices of one series at one dose and their references.

    Attributes:
        low_hu: float32 (slices, rows, columns), HU.
        full_hu: float32 (slices, rows, columns), HU.
    """

    low_hu: np.ndarray
    full_hu: np.ndarray


@dataclass(frozen=True)
class ValidationResult:
    """Means over the validation slices.

    Attributes:
        psnr: Peak signal-to-noise ratio in dB, in the abdomen window (range 400 HU).
        rmse_hu: Root mean square error in HU, no window.
        tissue_rmse_hu: Geometric mean of the root mean square errors of the tissues in
            HU, no window: each tissue counts alike, however much of the slices it
            fills. The best weights are those with the least.
    """

    psnr: float
    rmse_hu: float
    tissue_rmse_hu: float


def fixed_slices(records, split: str, count: int) -> list[SlicePair]:
    """Selects `count` slices spread evenly over a split, always the same ones.

    Raises:
        CtKerasError: CTK-E080, E084, E085, as `ct_keras.data.read_manifest`.
    """
    total = count_slices(read_manifest(records), split)
    chosen = set(np.linspace(0, total - 1, min(count, total)).round().astype(int))
    pairs = enumerate(iterate_pairs(records, split))
    return [pair for index, pair in pairs if index in chosen]


def fixed_volumes(records, split: str, count: int, depth: int) -> list[VolumePair]:
    """Selects stacks of `depth` whole slices, spread evenly, always the same ones.

    There are at least two stacks, so that the result does not depend on one patient at
    one dose. A series with fewer consecutive slices gives a thinner stack.

    Args:
        records: The folder that `convert` wrote.
        split: train, val or test.
        count: Minimum number of slices.
        depth: Slices in a stack.

    Raises:
        CtKerasError: CTK-E080, E084, E085, as `ct_keras.data.read_manifest`.
    """
    shards = read_places(read_manifest(records), split)
    runs = consecutive_runs([place for places in shards for place in places])
    stacks = [
        run[start : start + depth]
        for run in runs
        for start in range(0, max(1, len(run) - depth + 1), depth)
    ]
    mean_length = sum(map(len, stacks)) / len(stacks)
    wanted = min(max(2, math.ceil(count / mean_length)), len(stacks))
    chosen = np.linspace(0, len(stacks) - 1, wanted).round().astype(int)
    numbers = {number for index in chosen for number in stacks[index]}
    pairs = {
        number: pair
        for number, pair in enumerate(iterate_pairs(records, split))
        if number in numbers
    }
    return [
        VolumePair(
            np.stack([pairs[number].low_hu for number in stacks[index]]),
            np.stack([pairs[number].full_hu for number in stacks[index]]),
        )
        for index in chosen
    ]


def with_drawn_noise(
    pairs: Sequence[SlicePair | VolumePair], noise: DrawnNoise
) -> list[SlicePair | VolumePair]:
    """Replaces the low dose by the noise that a recipe draws, always the same.

    A network that is trained on such noise would otherwise be judged on another task.
    """
    import tensorflow as tf

    from ct_keras.data.drawn_noise import noise_drawer

    draw = noise_drawer(noise)
    noisy = []
    for number, pair in enumerate(pairs):
        full = tf.constant(hu.to_network(pair.full_hu)[None, ..., None])
        low = draw(full, tf.constant([number, 0], tf.int64))
        noisy.append(replace(pair, low_hu=hu.to_hu(low.numpy()[0, ..., 0])))
    return noisy


def with_noise_free_references(pairs: Sequence[SlicePair]) -> list[SlicePair]:
    """Replaces references y of a low dose z by ``(y - d z) / (1 - d)``.

    Their mean, given z, is the noise-free image, which a network of the noise-free
    loss approaches; y itself would favour one that keeps noise. See
    `ct_keras.losses.noise_free`; d is the noise share of the pair.
    """
    return [
        replace(
            pair,
            full_hu=(pair.full_hu - pair.noise_share * pair.low_hu)
            / (1 - pair.noise_share),
        )
        for pair in pairs
    ]


def validate(
    denoise: Callable[[np.ndarray], np.ndarray],
    pairs: Sequence[SlicePair | VolumePair],
) -> ValidationResult:
    """Measures a denoiser (HU to HU) on slices, or on volumes slice by slice."""
    psnr, rmse = [], []
    squares: dict[str, list[np.ndarray]] = {}
    for pair in pairs:
        denoised = np.asarray(denoise(pair.low_hu))
        shape = -1, *denoised.shape[-2:]
        slices = zip(denoised.reshape(shape), pair.full_hu.reshape(shape), strict=True)
        for test, reference in slices:
            test, reference = test.astype(np.float64), reference.astype(np.float64)
            psnr.append(_window_psnr(reference=reference, test=test))
            square = (test - reference) ** 2
            rmse.append(np.sqrt(np.mean(square)))
            for name, mask in _tissues(reference).items():
                squares.setdefault(name, []).append(square[mask])
    of_tissues = [np.mean(np.concatenate(each)) for each in squares.values()]
    # As below, at least 0.001 HU.
    tissue_rmse = math.exp(np.mean(np.log(np.maximum(of_tissues, 1e-6))) / 2)
    return ValidationResult(float(np.mean(psnr)), float(np.mean(rmse)), tissue_rmse)


def _tissues(reference: np.ndarray) -> dict[str, np.ndarray]:
    """The pixels of each tissue in the body, edges included, and of the rest of it.

    A slice without a body is a single tissue.
    """
    body = body_mask(reference)
    if not body.any():
        return {"rest": np.ones(reference.shape, bool)}
    masks = {tissue.name: tissue.holds(reference) & body for tissue in TISSUES}
    masks["rest"] = body & ~np.logical_or.reduce(list(masks.values()))
    return {name: mask for name, mask in masks.items() if mask.any()}


def _window_psnr(
    *, reference: np.ndarray, test: np.ndarray, window: hu.Window = hu.ABDOMEN
) -> float:
    error = np.clip(test, window.low, window.high) - np.clip(
        reference, window.low, window.high
    )
    # The RMSE is at least 0.001 HU, so that the PSNR is finite.
    return float(10 * np.log10(window.width**2 / max(np.mean(error**2), 1e-6)))
