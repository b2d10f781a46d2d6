"""Projection-domain methods from image to image: HU in, HU out.

If the rays are known because the low dose was simulated (`rays.low_dose_rays`),
sinogram filters work on them, and iterative methods use the noise variance of each ray.
Iterative methods still fit the projections of the image: the readings contain noise
that the kernel removed, and fitting it would make them a poor baseline. If the sinogram
is not available, as for archived scans, the image is reprojected and its noise gives
the statistics of the rays (`rays.estimate_rays`). In both cases the result is applied
as a change of the image: where a method changes nothing, the output equals the input,
without blur by interpolation.

Limits of reprojection: it cannot recover detail that the scanner's kernel removed,
separate the reading of a photon-starved ray from its neighbours, or account for what is
outside the field of view. Projections of an image are consistent, so iterations start
at a perfect fit; their effect comes from the statistics and the penalty alone. The rays
are parallel, unlike the scanner's, and the noise is assumed to be that of filtered
back-projection: images that were reconstructed iteratively or denoised have different
noise. A wrong `pixel_mm` changes the assumed thickness of the body; an error of 20 %
has little effect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from ct_keras.reconstruction.iterative import reconstruct_tv
from ct_keras.reconstruction.iterative import sart as iterate_sart
from ct_keras.reconstruction.sinogram_filters import smooth_adaptive, smooth_penalised
from ct_keras.simulation.photons import attenuation
from ct_keras.simulation.rays import (
    Rays,
    estimate_rays,
    hounsfield,
    reprojected_rays,
)

#: Pixel spacing of a body scan with a field of view of 384 mm.
PIXEL_MM = 0.75
_START_PIXELS = 1.5
#: Pixels of mirror padding, so that the edge to zero around a body that fills the image
#: lies outside.
_FRAME = 16


def adaptive(
    image: np.ndarray,
    photons: float,
    pixel_mm: float | None,
    rays: Rays | None = None,
) -> np.ndarray:
    """Averages rays with their neighbours up to a number of photons.

    Args:
        image: float32 (rows, columns), HU.
        photons: Number of photons; see `smooth_adaptive`. 0 changes nothing.
        pixel_mm: Pixel spacing in mm; None for `PIXEL_MM`.
        rays: Rays of the image, if known; None to reproject it.
    """
    scan = _scan(image, pixel_mm, rays)
    smooth = smooth_adaptive(scan.rays.integrals, scan.rays.variance, photons)
    return _corrected(image, scan, smooth)


def penalised(
    image: np.ndarray,
    beta: float,
    view_share: float,
    pixel_mm: float | None,
    rays: Rays | None = None,
) -> np.ndarray:
    """Smooths the sinogram by penalised likelihood.

    Args:
        image: float32 (rows, columns), HU.
        beta: Weight of the penalty in photons; see `smooth_penalised`. 0 changes
            nothing.
        view_share: Weight of neighbouring views relative to neighbouring bins.
        pixel_mm: Pixel spacing in mm; None for `PIXEL_MM`.
        rays: Rays of the image, if known; None to reproject it.
    """
    scan = _scan(image, pixel_mm, rays)
    smooth = smooth_penalised(
        scan.rays.integrals, scan.rays.variance, beta, view_share=view_share
    )
    return _corrected(image, scan, smooth)


def sart(
    image: np.ndarray,
    iterations: int,
    subsets: int,
    pixel_mm: float | None,
    rays: Rays | None = None,
) -> np.ndarray:
    """Reconstructs by SART from a blurred start, stopped before the noise returns.

    Args:
        image: float32 (rows, columns), HU.
        iterations: Number of passes over all views; many of them restore the input.
        subsets: Number of subsets of the 720 views.
        pixel_mm: Pixel spacing in mm; None for `PIXEL_MM`.
        rays: Rays of the image, if known; their grid is used.
    """
    scan = _scan(image, pixel_mm, rays, find=reprojected_rays)
    start = cv2.GaussianBlur(
        scan.image, (0, 0), _START_PIXELS, borderType=cv2.BORDER_REPLICATE
    )
    result = iterate_sart(
        scan.projections(),
        attenuation(start),
        iterations=int(iterations),
        subsets=int(subsets),
    )
    return scan.without_frame(hounsfield(result))


def tv(
    image: np.ndarray,
    strength: float,
    iterations: int,
    pixel_mm: float | None,
    rays: Rays | None = None,
) -> np.ndarray:
    """Reconstructs by weighted least squares with a total-variation penalty.

    Args:
        image: float32 (rows, columns), HU.
        strength: Weight of the penalty per HU between neighbouring pixels; see
            `reconstruct_tv`. 0 changes nothing.
        iterations: Iterations of monotone FISTA.
        pixel_mm: Pixel spacing in mm; None for `PIXEL_MM`.
        rays: Rays of the image, if known; their noise is used.
    """
    scan = _scan(image, pixel_mm, rays)
    start = attenuation(scan.image)
    result = reconstruct_tv(
        scan.projections(), start, strength=strength, iterations=int(iterations)
    ).image
    return image + scan.without_frame(hounsfield(result) - hounsfield(start))


class _Scan(NamedTuple):
    """An image, padded by a frame if it was reprojected, and its rays."""

    image: np.ndarray
    rays: Rays
    frame: int

    def projections(self) -> Rays:
        """The rays with the line integrals of the image, including its noise."""
        if self.rays.kernel is None:
            return self.rays
        integrals = self.rays.beam.project(attenuation(self.image))
        return replace(self.rays, integrals=integrals)

    def without_frame(self, image: np.ndarray) -> np.ndarray:
        rows, columns = image.shape
        frame = self.frame
        return image[frame : rows - frame, frame : columns - frame]


def _scan(
    image: np.ndarray,
    pixel_mm: float | None,
    rays: Rays | None,
    *,
    find: Callable[[np.ndarray, float], Rays] = estimate_rays,
) -> _Scan:
    if rays is not None:
        return _Scan(image, rays, 0)
    framed = cv2.copyMakeBorder(image, *[_FRAME] * 4, cv2.BORDER_REFLECT)
    pixel_mm = PIXEL_MM if pixel_mm is None else pixel_mm
    return _Scan(framed, find(framed, pixel_mm), _FRAME)


class _Pixels:
    """A kernel that reconstructs an image from its own projections.

    It compensates for the averaging over pixels in projection, up to the Nyquist
    frequency of the pixels along rows and columns.
    """

    def __init__(self, pixel_mm: float):
        self._pixel_mm = pixel_mm

    def window(self, frequency_mm: np.ndarray) -> np.ndarray:
        place = np.abs(frequency_mm) * self._pixel_mm
        return np.where(place <= 0.5, 1 / np.sinc(np.minimum(place, 0.5)), 0)


def _corrected(image: np.ndarray, scan: _Scan, smooth: np.ndarray) -> np.ndarray:
    """Adds to the image the reconstruction of the change in the sinogram."""
    rays = scan.rays
    kernel = rays.kernel or _Pixels(rays.beam.bin_mm)
    change = rays.beam.reconstruct(smooth - rays.integrals, kernel)
    return image + scan.without_frame(hounsfield(change) + 1000)
