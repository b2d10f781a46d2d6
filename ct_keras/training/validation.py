"""Validation on whole slices, in Hounsfield units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ct_keras import hu
from ct_keras.data import SlicePair, count_slices, iterate_pairs, read_manifest


@dataclass(frozen=True)
class ValidationResult:
    """Means over the validation slices.

    Attributes:
        psnr: Peak signal-to-noise ratio in dB, in the abdomen window (range 400 HU).
        rmse_hu: Root mean square error in HU, no window.
    """

    psnr: float
    rmse_hu: float


def fixed_slices(records, split: str, count: int) -> list[SlicePair]:
    """Takes `count` slices spread evenly over a split: always the same ones.

    Raises:
        CtKerasError: CTK-E080, E084, E085, as `ct_keras.data.read_manifest`.
    """
    total = count_slices(read_manifest(records), split)
    chosen = set(np.linspace(0, total - 1, min(count, total)).round().astype(int))
    pairs = enumerate(iterate_pairs(records, split))
    return [pair for index, pair in pairs if index in chosen]


def validate(
    denoise: Callable[[np.ndarray], np.ndarray], pairs: Sequence[SlicePair]
) -> ValidationResult:
    """Measures a denoiser (HU to HU, one slice a call) on slice pairs."""
    psnr, rmse = [], []
    for pair in pairs:
        denoised = np.asarray(denoise(pair.low_hu), np.float64)
        reference = np.asarray(pair.full_hu, np.float64)
        psnr.append(_window_psnr(reference=reference, test=denoised))
        rmse.append(np.sqrt(np.mean((denoised - reference) ** 2)))
    return ValidationResult(float(np.mean(psnr)), float(np.mean(rmse)))


def _window_psnr(
    *, reference: np.ndarray, test: np.ndarray, window: hu.Window = hu.ABDOMEN
) -> float:
    error = np.clip(test, window.low, window.high) - np.clip(
        reference, window.low, window.high
    )
    # A slice without any error counts as one with a thousandth of an HU.
    return float(10 * np.log10(window.width**2 / max(np.mean(error**2), 1e-6)))
