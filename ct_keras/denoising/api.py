"""The call that most people need: `denoise`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ct_keras.denoising.denoiser import Denoiser
from ct_keras.denoising.loading import load


def denoise(
    hu_in: np.ndarray,
    *,
    model: str | Path | Denoiser | None = None,
    strength: float = 1.0,
) -> np.ndarray:
    """Denoises an image or a volume.

    Args:
        hu_in: (rows, columns) or (slices, rows, columns), HU.
        model: A name, a run, a `.keras` file or a `Denoiser`; None for the default
            model. Load a `Denoiser` once to call it often.
        strength: 0 (the input) to 1 (the network's output).

    Returns:
        float32 of the same shape, HU.

    Raises:
        CtKerasError: As `load` and `Denoiser`.
    """
    denoiser = model if isinstance(model, Denoiser) else load(model)
    return denoiser(hu_in, strength=strength)
