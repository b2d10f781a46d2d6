"""Methods of the projection domain from an image to an image: HU in, HU out.

Where the rays are known, because the low dose was simulated (`rays.low_dose_rays`),
filters of the sinogram work on them, and iterations know the noise of each. What
iterations fit are the projections of the image all the same: readings hold the noise
that the kernel took away, and to bring it back would make a bad baseline of them. The
sinogram of a scan is not in the archive: then the image is projected again and its
noise tells the statistics of the rays (`rays.estimate_rays`). Either way the result
comes back as a change of the image: where a method changes nothing, the output is the
input, and no interpolation blurs it.

What projecting again cannot do: bring back detail that the scanner's kernel took away,
tell a starved ray's reading from its neighbours', or know what lies outside the field
of view. Projected images agree with themselves, so that iterations start at a perfect
fit; what they then do comes from the statistics and the penalty alone. The rays are
parallel, not those of the scanner, and the noise is taken for that of filtered
back-projection: an image that was reconstructed iteratively or denoised has other
noise. A wrong `pixel_mm` makes the body thicker or thinner than it is; an error of a
fifth costs little.
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

#: Pixel distance of a body scan with a field of view of 384 mm.
PIXEL_MM = 0.75
_START_PIXELS = 1.5
#: Pixels by which images are continued, mirrored, so that the step to nothing around
#: a body that fills the image lies outside.
_FRAME = 16


def adaptive(
    image: np.ndarray,
    photons: float,
    pixel_mm: float | None,
    rays: Rays | None = None,
) -> np.ndarray:
    """Averages rays with their neighbours until enough photons are gathered.

    Args:
        image: float32 (rows, columns), HU.
        photons: How many; see `smooth_adaptive`. 0 changes nothing.
        pixel_mm: Distance of pixels in mm; None for `PIXEL_MM`.
        rays: Of the image, where they are known; None to project it.
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
        pixel_mm: Distance of pixels in mm; None for `PIXEL_MM`.
        rays: Of the image, where they are known; None to project it.
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
    """Reconstructs again from a blurred start, and stops before the noise is back.

    Args:
        image: float32 (rows, columns), HU.
        iterations: How often all views are used; with ever more the input comes back.
        subsets: Into how many subsets the 720 views are divided.
        pixel_mm: Distance of pixels in mm; None for `PIXEL_MM`.
        rays: Of the image, where they are known: their grid is used.
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
    """Reconstructs again by weighted least squares with a total-variation penalty.

    Args:
        image: float32 (rows, columns), HU.
        strength: Weight of the penalty per HU between neighbouring pixels; see
            `reconstruct_tv`. 0 changes nothing.
        iterations: Of monotone FISTA.
        pixel_mm: Distance of pixels in mm; None for `PIXEL_MM`.
        rays: Of the image, where they are known: their noise is used.
    """
    scan = _scan(image, pixel_mm, rays)
    start = attenuation(scan.image)
    result = reconstruct_tv(
        scan.projections(), start, strength=strength, iterations=int(iterations)
    ).image
    return image + scan.without_frame(hounsfield(result) - hounsfield(start))


class _Scan(NamedTuple):
    """An image, with a frame around it if it was projected, and its rays."""

    image: np.ndarray
    rays: Rays
    frame: int

    def projections(self) -> Rays:
        """The rays with the integrals of the image, so with the noise that it shows."""
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
    """A kernel that gives an image back from its own projections.

    Projection averages over pixels; the kernel undoes that, up to the highest frequency
    of the pixels along rows and columns.
    """

    def __init__(self, pixel_mm: float):
        self._pixel_mm = pixel_mm

    def window(self, frequency_mm: np.ndarray) -> np.ndarray:
        place = np.abs(frequency_mm) * self._pixel_mm
        return np.where(place <= 0.5, 1 / np.sinc(np.minimum(place, 0.5)), 0)


def _corrected(image: np.ndarray, scan: _Scan, smooth: np.ndarray) -> np.ndarray:
    """Adds the reconstruction of what a filter changed in the sinogram."""
    rays = scan.rays
    kernel = rays.kernel or _Pixels(rays.beam.bin_mm)
    change = rays.beam.reconstruct(smooth - rays.integrals, kernel)
    return image + scan.without_frame(hounsfield(change) + 1000)
