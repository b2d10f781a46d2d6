"""Estimates the level and the texture of the noise in a scan.

Anatomy adds to a local standard deviation as noise does. Three steps suppress it: a
high-pass filter, division by the noise pattern that the simulator expects (so that all
windows have the same noise), and a low quantile over windows of soft tissue (those with
the least anatomy). Simulated noise passes through the same steps and serves as the
reference, so no filter gain or quantile needs to be known.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ct_keras.metrics.tissues import ENHANCED_SOFT_HU
from ct_keras.simulation.dose import DoseSimulator
from ct_keras.simulation.kernels import Kernel, between

_TISSUE_BLUR_MM = 3.0
_MARGIN_MM = 4.0
_WINDOW_MM = 9.0
#: Smoothing widths whose residuals are the fine noise and all of the noise.
_FINE_MM, _WHOLE_MM = 0.6, 1.5
_FINE_PIXELS = 0.75
_QUANTILE = 0.1
_FEWEST_WINDOWS = 30
#: Shares for `between` from whose textures the texture of a scan is interpolated.
_SHARES = (-0.7, -0.35, 0.0, 0.25, 0.5, 0.75, 1.0)
#: If the textures of the kernels span less than this, they cannot be distinguished.
_LEAST_RANGE = 0.12
_REFERENCE_PHOTONS = 1e6


@dataclass(frozen=True)
class NoiseEstimate:
    """The noise of one slice.

    Attributes:
        sd_hu: Median SD over soft tissue in HU.
        photons: Incident photons per ray that give this noise.
        windows: Number of windows that were evaluated.
    """

    sd_hu: float
    photons: float
    windows: int


def estimate_noise(
    simulator: DoseSimulator, hu: np.ndarray, *, padding: np.ndarray | None = None
) -> NoiseEstimate | None:
    """Measures the noise in the soft tissue of a slice.

    Args:
        simulator: For the slice's grid and kernel; its photon count is not used.
        hu: (rows, columns), HU.
        padding: bool (rows, columns), True outside the reconstruction.

    Returns:
        The estimate, or None if there is too little soft tissue.
    """
    spacing_mm = simulator.beam.spacing_mm
    tissue = soft_tissue(hu, spacing_mm, padding=padding)
    if _windows(tissue.astype(np.float32), tissue, spacing_mm).size < _FEWEST_WINDOWS:
        return None
    reference = _reference(simulator)
    expected = np.maximum(reference.noise_sd(hu, padding=padding), 1e-6)
    noise = (reference.low_dose(hu, 1.0, seed=0, padding=padding) - hu) / expected
    # Padding of -3024 HU must not spread into the tissue through the filters.
    source = np.maximum(hu, -1024) / expected
    found = _residual(source, tissue, spacing_mm, _WHOLE_MM)
    known = _residual(noise, tissue, spacing_mm, _WHOLE_MM)
    ratio = np.quantile(found, _QUANTILE) / np.quantile(known, _QUANTILE)
    ratio = max(float(ratio), 0.0)  # running sums may round to below zero
    return NoiseEstimate(
        sd_hu=float(np.sqrt(ratio) * np.median(expected[tissue])),
        photons=float(_REFERENCE_PHOTONS / max(ratio, 1e-12)),
        windows=found.size,
    )


def estimate_share(
    simulator: DoseSimulator, hu: np.ndarray, *, padding: np.ndarray | None = None
) -> float | None:
    """Finds the kernel whose noise texture matches that of a slice.

    The ratio of fine noise to all noise, in the tenth of the windows with the least
    anatomy, is compared with that of kernels between B30 and D45.

    Args:
        simulator: For the slice's grid; its kernel and photon count are not used.
        hu: (rows, columns), HU.
        padding: bool (rows, columns), True outside the reconstruction.

    Returns:
        The share for `between`, at most 1, or None if there is too little soft tissue,
        no noise, or a pixel spacing too coarse (above about 1.1 mm) to distinguish the
        noise of the kernels.
    """
    spacing_mm = simulator.beam.spacing_mm
    tissue = soft_tissue(hu, spacing_mm, padding=padding)
    if _windows(tissue.astype(np.float32), tissue, spacing_mm).size < _FEWEST_WINDOWS:
        return None
    reference = _reference(simulator)
    expected = np.maximum(reference.noise_sd(hu, padding=padding), 1e-6)
    found = _texture(np.maximum(hu, -1024) / expected, tissue, spacing_mm)
    if found is None:
        return None
    textures = []
    for share in _SHARES:
        candidate = reference.tuned(kernel=between(share))
        noise = candidate.low_dose(hu, 1.0, seed=0, padding=padding) - hu
        textures.append(_texture(noise / expected, tissue, spacing_mm))
    rising = np.min(np.diff(textures)) > 0
    if not rising or textures[-1] - textures[0] < _LEAST_RANGE:
        return None
    return round(float(np.interp(found, textures, _SHARES)), 2)


def estimate_kernel(
    simulator: DoseSimulator, hu: np.ndarray, *, padding: np.ndarray | None = None
) -> Kernel | None:
    """Returns the kernel whose noise texture matches that of a slice.

    See `estimate_share`.
    """
    share = estimate_share(simulator, hu, padding=padding)
    return None if share is None else between(share)


def soft_tissue(
    hu: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    padding: np.ndarray | None = None,
) -> np.ndarray:
    """Returns a mask (rows, columns) of soft tissue away from bone, air, fat, padding.

    Args:
        hu: (rows, columns), HU.
        spacing_mm: (row, column) pixel spacing in mm.
        padding: bool (rows, columns), True outside the reconstruction.
    """
    smooth = _blur(np.maximum(hu, -1024), spacing_mm, _TISSUE_BLUR_MM)
    tissue = (smooth > ENHANCED_SOFT_HU[0]) & (smooth < ENHANCED_SOFT_HU[1])
    if padding is not None:
        tissue &= ~padding
    reach = [2 * round(_MARGIN_MM / step) + 1 for step in spacing_mm]
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, reach[::-1])
    return cv2.erode(tissue.astype(np.uint8), disc).astype(bool)


def _reference(simulator: DoseSimulator) -> DoseSimulator:
    return simulator.tuned(
        photons=_REFERENCE_PHOTONS, noise_free=True, electronic_noise=0.0
    )


def _blur(image, spacing_mm, sd_mm) -> np.ndarray:
    rows, columns = (sd_mm / step for step in spacing_mm)
    return cv2.GaussianBlur(
        np.asarray(image, np.float32), (0, 0), sigmaX=columns, sigmaY=rows
    )


def _residual(image, tissue, spacing_mm, sd_mm) -> np.ndarray:
    """Returns the mean square per window of what smoothing removes."""
    rest = image - _blur(image, spacing_mm, sd_mm)
    return _windows(rest * rest, tissue, spacing_mm)


def _windows(image, tissue, spacing_mm) -> np.ndarray:
    """Returns the means over overlapping windows that lie entirely in tissue."""
    size = [max(7, round(_WINDOW_MM / step)) for step in spacing_mm]
    places = tuple(slice(None, None, max(1, width // 3)) for width in size)
    inside = cv2.boxFilter(tissue.astype(np.float32), -1, size[::-1])[places]
    return cv2.boxFilter(image, -1, size[::-1])[places][inside > 0.999]


def _texture(image, tissue, spacing_mm) -> float | None:
    """Returns the ratio of fine noise to all noise in the cleanest windows.

    None if smoothing removes nothing there.
    """
    whole = _residual(image, tissue, spacing_mm, _WHOLE_MM)
    width_mm = max(_FINE_MM, _FINE_PIXELS * max(spacing_mm))
    fine = _residual(image, tissue, spacing_mm, width_mm)
    clean = whole <= np.quantile(whole, _QUANTILE)
    power = whole[clean].mean()
    return float(fine[clean].mean() / power) if power > 0 else None
