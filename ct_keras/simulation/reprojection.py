"""Methods of the projection domain on a finished image: HU in, HU out.

The sinogram of a scan is not in the archive, so the image is projected again, its noise
tells the statistics of the rays (`rays.estimate_rays`), and the filtered or iterated
result comes back as a change of the image: where a method changes nothing, the output
is the input, and no interpolation blurs it.

What this cannot do: bring back detail that the scanner's kernel took away, tell a
starved ray's reading from its neighbours', or know what lies outside the field of view.
Projected images agree with themselves, so that iterations start at a perfect fit; what
they then do comes from the statistics and the penalty alone. The rays are parallel, not
those of the scanner, and the noise is taken for that of filtered back-projection: an
image that was reconstructed iteratively or denoised has other noise. A wrong `pixel_mm`
makes the body thicker or thinner than it is; an error of a fifth costs little.
"""

from __future__ import annotations

import cv2
import numpy as np

from ct_keras.simulation.iterative import reconstruct_tv
from ct_keras.simulation.iterative import sart as iterate_sart
from ct_keras.simulation.photons import attenuation
from ct_keras.simulation.rays import (
    Rays,
    estimate_rays,
    hounsfield,
    reprojected_rays,
)
from ct_keras.simulation.sinogram_filters import smooth_adaptive, smooth_penalised

#: Pixel distance of a body scan with a field of view of 384 mm.
PIXEL_MM = 0.75
_START_PIXELS = 1.5
#: Pixels by which images are continued, mirrored, so that the step to nothing around
#: a body that fills the image lies outside.
_FRAME = 16


def adaptive(image: np.ndarray, photons: float, pixel_mm: float) -> np.ndarray:
    """Averages rays with their neighbours until enough photons are gathered.

    Args:
        image: float32 (rows, columns), HU.
        photons: How many; see `smooth_adaptive`. 0 changes nothing.
        pixel_mm: Distance of pixels in mm.
    """
    rays = estimate_rays(_framed(image), pixel_mm)
    smooth = smooth_adaptive(rays.integrals, rays.variance, photons)
    return _corrected(image, rays, smooth)


def penalised(
    image: np.ndarray, beta: float, view_share: float, pixel_mm: float
) -> np.ndarray:
    """Smooths the sinogram by penalised likelihood.

    Args:
        image: float32 (rows, columns), HU.
        beta: Weight of the penalty in photons; see `smooth_penalised`. 0 changes
            nothing.
        view_share: Weight of neighbouring views relative to neighbouring bins.
        pixel_mm: Distance of pixels in mm.
    """
    rays = estimate_rays(_framed(image), pixel_mm)
    smooth = smooth_penalised(
        rays.integrals, rays.variance, beta, view_share=view_share
    )
    return _corrected(image, rays, smooth)


def sart(
    image: np.ndarray, iterations: int, subsets: int, pixel_mm: float
) -> np.ndarray:
    """Reconstructs again from a blurred start, and stops before the noise is back.

    Args:
        image: float32 (rows, columns), HU.
        iterations: How often all views are used; with ever more the input comes back.
        subsets: Into how many subsets the 720 views are divided.
        pixel_mm: Distance of pixels in mm.
    """
    framed = _framed(image)
    rays = reprojected_rays(framed, pixel_mm)
    start = cv2.GaussianBlur(
        framed, (0, 0), _START_PIXELS, borderType=cv2.BORDER_REPLICATE
    )
    result = iterate_sart(
        rays, attenuation(start), iterations=int(iterations), subsets=int(subsets)
    )
    return _without_frame(hounsfield(result))


def tv(
    image: np.ndarray, strength: float, iterations: int, pixel_mm: float
) -> np.ndarray:
    """Reconstructs again by weighted least squares with a total-variation penalty.

    Args:
        image: float32 (rows, columns), HU.
        strength: Weight of the penalty per HU between neighbouring pixels; see
            `reconstruct_tv`. 0 changes nothing.
        iterations: Of monotone FISTA.
        pixel_mm: Distance of pixels in mm.
    """
    framed = _framed(image)
    rays = estimate_rays(framed, pixel_mm)
    start = attenuation(framed)
    result = reconstruct_tv(
        rays, start, strength=strength, iterations=int(iterations)
    ).image
    return image + _without_frame(hounsfield(result) - hounsfield(start))


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


def _corrected(image: np.ndarray, rays: Rays, smooth: np.ndarray) -> np.ndarray:
    """Adds the reconstruction of what a filter changed in the sinogram."""
    kernel = _Pixels(rays.beam.bin_mm)
    change = rays.beam.reconstruct(smooth - rays.integrals, kernel)
    return image + _without_frame(hounsfield(change) + 1000)


def _framed(image: np.ndarray) -> np.ndarray:
    return cv2.copyMakeBorder(image, *[_FRAME] * 4, cv2.BORDER_REFLECT)


def _without_frame(image: np.ndarray) -> np.ndarray:
    return image[_FRAME:-_FRAME, _FRAME:-_FRAME]
