"""The shortest way to denoise an array: `denoise`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ct_keras.arrays import as_hu
from ct_keras.denoising.computation import choose_computation, sample_places
from ct_keras.denoising.method import Method, Spacing
from ct_keras.denoising.methods import as_method, get_method


def denoise(
    hu_in: np.ndarray,
    *,
    model: str | Path | Method | None = None,
    strength: float | None = None,
    like_dose: float | None = None,
    spacing_mm: Spacing = None,
    precision: str = "float32",
    engine: str = "auto",
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
        precision: "float32", "bfloat16" or "auto": bfloat16 where the processor is
            faster with it and the result of this network and image nearly the same;
            see `ct_keras.denoising.computation`.
        engine: "auto", "tensorflow", or "openvino" or "onnx" where installed.

    Returns:
        float32 of the same shape, HU.

    Raises:
        CtKerasError: As `load`, `Denoiser` and `choose_computation`.
    """
    if model is None or isinstance(model, str | Path):
        method = get_method(model)
    else:
        method = as_method(model)
    strength = method.chosen_strength(strength, like_dose)
    hu_in = as_hu(hu_in)
    volume = hu_in.reshape(-1, *hu_in.shape[-2:])
    method, _ = choose_computation(
        method,
        [volume[part] for part in sample_places(volume.shape, method.dimensions)],
        precision=precision,
        engine=engine,
        strength=strength,
    )
    return method(hu_in, strength=strength, spacing_mm=spacing_mm)
