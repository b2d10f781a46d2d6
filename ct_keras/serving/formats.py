"""`export`: writes a denoiser in a format for serving."""

from __future__ import annotations

import functools
from pathlib import Path

from ct_keras.denoising.method import Method
from ct_keras.denoising.methods import as_method
from ct_keras.errors import CtKerasError
from ct_keras.filters import Filter
from ct_keras.serving.runtimes import RUNTIMES, export_for_runtime
from ct_keras.serving.savedmodel import export_savedmodel

_EXPORTERS = {"savedmodel": export_savedmodel} | {
    name: functools.partial(export_for_runtime, runtime=runtime)
    for name, runtime in RUNTIMES.items()
}


def export(
    denoiser: Method | Filter,
    out: str | Path,
    *,
    format: str = "savedmodel",
    strength: float | None = None,
    overwrite: bool = False,
) -> float:
    """Writes a denoiser for serving, and checks it against the Keras model.

    Args:
        denoiser: A network, or a linear filter (`mean`, `gaussian`, `blur`,
            `gaussian_5x5`) with its parameters, which is exported as a network. For a
            self-ensemble only the network is exported, with a warning.
        out: The folder to write.
        format: "savedmodel", "onnx", "openvino" or "litert".
        strength: 0 to 1, becomes part of the export; by default that of the denoiser,
            so that the export returns what the denoiser does.
        overwrite: Replace a folder that an export wrote.

    Returns:
        The largest difference from the Keras model, in HU.

    Raises:
        CtKerasError: CTK-E000 for an unknown format, a strength out of range or a
            filter that is not linear; otherwise as the exporter of the format.
    """
    if format not in _EXPORTERS:
        raise CtKerasError(
            "CTK-E000",
            "unknown export format",
            received=format,
            expected=", ".join(_EXPORTERS),
        )
    if strength is not None:
        denoiser = as_method(denoiser).as_denoiser().at_strength(strength)
    return _EXPORTERS[format](denoiser, out, overwrite=overwrite)
