"""Denoises a DICOM series slice by slice, in memory that does not grow with it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ct_keras.dicom import Derivation, Series, SeriesWriter
from ct_keras.progress import track
from ct_keras.serving.denoiser import Denoiser, check_strength
from ct_keras.serving.methods import FilterDenoiser, Untreated


@dataclass(frozen=True)
class DenoisedSeries:
    """What became of one series.

    Attributes:
        slices: How many were written.
        clipped_pixels: Values outside the stored range, clipped and counted.
    """

    slices: int
    clipped_pixels: int


def denoise_series(
    series: Series,
    out: str | Path,
    denoiser: Denoiser | FilterDenoiser | Untreated,
    *,
    strength: float = 1.0,
    overwrite: bool = False,
    allow_repeat: bool = False,
    progress: bool = False,
) -> DenoisedSeries:
    """Writes the denoised series as a derived DICOM series.

    The next slice is read while the current one is denoised; nothing else is kept.
    Pixels that scanners put outside the reconstruction circle keep their stored values.

    Args:
        series: From `ct_keras.read_series` or `ct_keras.find_series`.
        out: The folder to make; it appears when every slice was written and read back.
        denoiser: HU to HU.
        strength: 0 gives every stored pixel back bit for bit.
        overwrite: Replace a folder with content.
        allow_repeat: Accept a series that ct_keras denoised before.
        progress: Show a bar.

    Raises:
        CtKerasError: As the denoiser, and CTK-E050, CTK-E071, CTK-E073 as the writer.
    """
    check_strength(strength)
    derivation = derivation_of(denoiser, strength)
    writer = SeriesWriter(
        series, out, derivation, overwrite=overwrite, allow_repeat=allow_repeat
    )
    with writer, ThreadPoolExecutor(1) as reader:
        coming = reader.submit(series.read, 0)
        for index in track(range(len(series)), "Denoising", enabled=progress):
            pixels = coming.result()
            if index + 1 < len(series):
                coming = reader.submit(series.read, index + 1)
            writer.write(index, denoiser(pixels.hu, strength=strength))
    return DenoisedSeries(len(series), writer.clipped)


def derivation_of(
    denoiser: Denoiser | FilterDenoiser | Untreated, strength: float
) -> Derivation:
    """What a derived series says about how it was made."""
    identity = denoiser.identity
    details = {
        "model_version": identity.version,
        "weights_sha256": identity.weights_sha256,
        "parameters": identity.parameters | {"strength": strength},
    }
    if isinstance(denoiser, FilterDenoiser):
        return Derivation.filtered(denoiser.filter.name, **details)
    return Derivation.network(identity.name, **details)
