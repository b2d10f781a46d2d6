"""The shortest way to denoise an array: `denoise`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ct_keras.denoising.method import Method, Spacing
from ct_keras.denoising.methods import as_method, get_method


def denoise(
    hu_in: np.ndarray,
    *,
    model: str | Path | Method | None = None,
    strength: float | None = None,
    like_dose: float | None = None,
    spacing_mm: Spacing = None,
) -> np.ndarray:
    """Denoises an image or a volume.

    Args:
        hu_in: (rows, columns) or (slices, rows, columns), HU.
        model: A name, a run, a `.keras` file, "filter:NAME", "recon:NAME" or a
            `Denoiser`; None for the default model. For repeated calls, load a
            `Denoiser` once.
        strength: 0 (the input) to 1 (the method's output); by default 1, unless the
            model card has another `default_strength`.
        like_dose: Instead of a strength: leave the noise of this many times the dose,
            from 1 (the input) to infinity; see `ct_keras.denoising.strength_like_dose`.
        spacing_mm: Row and column spacing; required by "recon:NAME".

    Returns:
        float32 of the same shape, HU.

    Raises:
        CtKerasError: As `load` and `Denoiser`.
    """
    if model is None or isinstance(model, str | Path):
        method = get_method(model)
    else:
        method = as_method(model)
    strength = method.chosen_strength(strength, like_dose)
    return method(hu_in, strength=strength, spacing_mm=spacing_mm)
