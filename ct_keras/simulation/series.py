"""Writes a series, or a volume, changed slice by slice: as if at a lower dose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ct_keras.containers import VolumeFile, open_writer
from ct_keras.dicom import Derivation, Series
from ct_keras.dicom.pixels import SlicePixels
from ct_keras.progress import track
from ct_keras.simulation.scan import SeriesSimulator

#: From the index of a slice and its pixels to its new HU.
SliceChange = Callable[[int, SlicePixels], np.ndarray]


def low_dose_change(
    simulator: SeriesSimulator, dose: float, seed: int
) -> tuple[Derivation, SliceChange]:
    """What a lower dose makes of the slices of a series, and what their headers say.

    Args:
        simulator: Of the series.
        dose: Fraction of the dose.
        seed: Seed of the noise.
    """
    found = simulator.calibration
    parameters = {
        "dose": dose,
        "seed": seed,
        "kernel": found.kernel.name,
        "photons": f"{found.photons:.4g}",
    }

    def slice_of(slice_index: int, pixels: SlicePixels) -> np.ndarray:
        return simulator.low_doses(slice_index, [dose], seed=seed, pixels=pixels)[0]

    return Derivation.simulated_dose(dose, parameters=parameters), slice_of


def write_changed(
    series: Series | VolumeFile,
    out: str | Path,
    derivation: Derivation,
    slice_of: SliceChange,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> int:
    """Changes and writes slice by slice, in bounded memory.

    Args:
        series: The source.
        out: The folder to write, or for a volume the file.
        derivation: For the headers.
        slice_of: The change.
        overwrite: Replace what ct_keras wrote there.
        progress: Show a bar.

    Returns:
        The number of values that were clipped to the stored range.

    Raises:
        CtKerasError: As `ct_keras.containers.open_writer`.
    """
    with open_writer(
        series, out, derivation, overwrite=overwrite, progress=progress
    ) as writer:
        indices = track(range(len(series)), "Simulating", enabled=progress)
        for slice_index in indices:
            pixels = series.read(slice_index)
            writer.write(slice_index, slice_of(slice_index, pixels), pixels)
    return writer.clipped
