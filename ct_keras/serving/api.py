"""The two calls that most people need: `denoise` and `export`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.filters import Filter
from ct_keras.serving.denoiser import Denoiser
from ct_keras.serving.exportable import exportable
from ct_keras.serving.loading import load
from ct_keras.serving.methods import FilterDenoiser
from ct_keras.serving.savedmodel import export_savedmodel

_EXPORTERS = {"savedmodel": export_savedmodel}


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


def export(
    denoiser: Denoiser | FilterDenoiser | Filter,
    out: str | Path,
    *,
    format: str = "savedmodel",
    overwrite: bool = False,
) -> float:
    """Writes a denoiser for serving, and checks it against the Keras model.

    Args:
        denoiser: What to export: a network, or a linear filter (`mean`, `gaussian`,
            `blur`, `gaussian_5x5`) with its parameters, which becomes one.
        out: Where to.
        format: "savedmodel".
        overwrite: Replace what lies there.

    Returns:
        The largest difference from the Keras model, in HU.

    Raises:
        CtKerasError: CTK-E000 for an unknown format or a filter that is not linear,
            else as the format's exporter.
    """
    if format not in _EXPORTERS:
        raise CtKerasError(
            "CTK-E000",
            "unknown export format",
            received=format,
            expected=", ".join(_EXPORTERS),
        )
    return _EXPORTERS[format](exportable(denoiser), out, overwrite=overwrite)
