"""`export`: a denoiser in a format that can be served."""

from __future__ import annotations

from pathlib import Path

from ct_keras.denoising.method import Method
from ct_keras.errors import CtKerasError
from ct_keras.filters import Filter
from ct_keras.serving.savedmodel import export_savedmodel

_EXPORTERS = {"savedmodel": export_savedmodel}


def export(
    denoiser: Method | Filter,
    out: str | Path,
    *,
    format: str = "savedmodel",
    overwrite: bool = False,
) -> float:
    """Writes a denoiser for serving, and checks it against the Keras model.

    Args:
        denoiser: What to export: a network, or a linear filter (`mean`, `gaussian`,
            `blur`, `gaussian_5x5`) with its parameters, which becomes one. Of a
            self-ensemble its network alone, and a warning says so.
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
    return _EXPORTERS[format](denoiser, out, overwrite=overwrite)
