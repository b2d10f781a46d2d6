"""Line integrals and their noise, as a scanner measures them before reconstruction.

They come from a simulated scan, whose counts are known, or from a finished image, which
is reprojected and whose noise determines the number of photons.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.simulation import photons as physics
from ct_keras.simulation.dose import DoseSimulator, check_dose
from ct_keras.simulation.estimates import estimate_kernel, estimate_noise
from ct_keras.simulation.kernels import APERTURE_MM, Kernel
from ct_keras.simulation.layers import Layers
from ct_keras.simulation.projection import BIN_MM, VIEWS, ParallelBeam, parallel_beam

#: Readings below this count are raised to it before the logarithm.
_LEAST_COUNT = 0.5
#: Line integrals are capped here, where no photon is left.
_LONGEST = 60.0


@dataclass(frozen=True, eq=False)
class Rays:
    """Line integrals of one slice with the variance of their noise.

    Attributes:
        beam: The geometry.
        integrals: float32 (bins, views), dimensionless.
        variance: float32 (bins, views), noise variance of the integrals.
        aperture_mm: Width over which a detector bin averages.
        kernel: Kernel of the image that was reconstructed from them; None if they are
            the projections of an image.
    """

    beam: ParallelBeam
    integrals: np.ndarray
    variance: np.ndarray
    aperture_mm: float = 0.0
    kernel: Kernel | None = None


def hounsfield(mu: np.ndarray) -> np.ndarray:
    """Converts attenuation per mm to HU (float32), the inverse of `attenuation`."""
    return np.asarray(mu, np.float32) * np.float32(1000 / physics.MU_WATER_MM) - 1000


def scan_rays(
    simulator: DoseSimulator,
    hu: np.ndarray,
    dose: float = 1.0,
    *,
    seed: int,
    slice_index: int = 0,
) -> Rays:
    """Scans an object without noise: Poisson counts, electronic noise, logarithm.

    The variance is estimated from the measured counts, ``1/N + e^2/N^2``. The object
    consists of the same pixels that a reconstruction on this grid solves for, which
    favours iterative methods slightly over a scan of a real body.

    Args:
        simulator: Its grid, photons, bowtie, modulation and electronic noise are used.
        hu: (rows, columns), HU of the object.
        dose: Fraction of the photons of the simulator.
        seed: Determines the noise, together with `slice_index`.
        slice_index: Index of the slice in its series.

    Raises:
        CtKerasError: CTK-E000, if the dose is invalid.
    """
    beam, spread = simulator.beam, simulator.ray_electronic_noise
    mu = physics.attenuation(hu)
    integrals = beam.project(mu, aperture_mm=APERTURE_MM)
    incident = simulator.counts(hu) * np.exp(beam.project(mu)) * check_dose(dose)
    rng = np.random.default_rng([abs(int(seed)), int(seed < 0), int(slice_index)])
    counts = rng.poisson(incident * np.exp(-integrals)).astype(np.float32)
    counts += np.float32(spread) * rng.standard_normal(counts.shape, np.float32)
    counts = np.maximum(counts, np.float32(_LEAST_COUNT))
    variance = 1 / counts + (spread / counts) ** 2
    measured = np.log(incident / counts)
    return Rays(
        beam, measured.astype(np.float32), variance.astype(np.float32), APERTURE_MM
    )


def low_dose_rays(
    simulator: DoseSimulator,
    hu: np.ndarray,
    dose: float,
    *,
    seed: int,
    slice_index: int = 0,
    padding: np.ndarray | None = None,
    current: float = 1.0,
    layers: Layers = (),
) -> Rays:
    """Returns the sinogram of a simulated low-dose slice.

    These are the rays of the image that `simulator.low_dose` returns for the same
    arguments: the line integrals of the full-dose image plus the noise drawn for each.
    The variance is estimated from the noisy readings, ``1/N + e^2/N^2``. The rays lack
    the detail that the kernel removed from the full-dose image, and include the noise
    of that image; image and rays are more consistent than those of a real scan.

    Args:
        simulator: The simulator of the low dose.
        hu: (rows, columns), HU at full dose.
        dose: Fraction of the full dose.
        seed: As for `simulator.low_dose`, like the other arguments.
        slice_index: Index of the slice in its series.
        padding: bool (rows, columns), True outside the reconstruction.
        current: Tube current of this slice relative to that of the photons.
        layers: What the slice shares with its neighbours.

    Raises:
        CtKerasError: CTK-E000, CTK-E041 or CTK-E044 as `simulator.low_dose`.
    """
    options = {"padding": padding, "current": current}
    (noise,) = simulator.noise_sinograms(
        hu, [dose], seed=seed, slice_index=slice_index, layers=layers, **options
    )
    integrals = simulator.beam.project(physics.attenuation(hu, padding))
    # The expected counts with the noise applied.
    counts = simulator.counts(hu, **options) * np.float32(dose) * np.exp(-noise)
    counts = np.maximum(counts, np.float32(_LEAST_COUNT))
    variance = 1 / counts + (simulator.ray_electronic_noise / counts) ** 2
    return Rays(
        simulator.beam,
        integrals + noise,
        variance.astype(np.float32),
        kernel=simulator.kernel,
    )


def reprojected_rays(hu: np.ndarray, pixel_mm: float) -> Rays:
    """Reprojects an image, with detector bins as wide as a pixel.

    The line integrals are mutually consistent, unlike measured ones: the detail and
    noise that the kernel removed are missing from them too.

    Args:
        hu: (rows, columns), HU.
        pixel_mm: Pixel spacing in mm, the same for rows and columns.

    Returns:
        Rays of equal variance.
    """
    image = np.asarray(hu, np.float32)
    width = _check_pixel(pixel_mm)
    beam = parallel_beam(image.shape, (width, width), bin_mm=width)
    integrals = beam.project(physics.attenuation(image))
    return Rays(beam, integrals, np.ones_like(integrals))


def estimate_rays(hu: np.ndarray, pixel_mm: float) -> Rays:
    """Reprojects an image and estimates the noise of its rays.

    Kernel and photon count follow from the texture and the level of the noise in soft
    tissue (`estimates`); without enough soft tissue, the photon count follows from the
    median difference of neighbouring pixels, for the kernel B30.

    Args:
        hu: (rows, columns), HU.
        pixel_mm: Pixel spacing in mm, the same for rows and columns.

    Returns:
        As `reprojected_rays`, with variances; an image without noise gets zeros.

    Raises:
        CtKerasError: CTK-E000, if the pixel spacing is invalid.
    """
    rays = reprojected_rays(hu, pixel_mm)
    image = np.asarray(hu, np.float32)
    photons = _photons(image.tobytes(), image.shape, float(pixel_mm))
    photons *= (rays.beam.bin_mm / BIN_MM) * (VIEWS / rays.beam.views)
    incident = physics.bowtie(rays.beam.position_mm)[:, None] * photons
    variance = np.exp(np.minimum(rays.integrals, _LONGEST)) / incident
    return replace(rays, variance=variance.astype(np.float32))


# Tuning evaluates the same few images with every setting.
@lru_cache(maxsize=16)
def _photons(data: bytes, shape: tuple[int, int], pixel_mm: float) -> float:
    """Returns incident photons per ray of a `DoseSimulator`, inf without noise."""
    image = np.frombuffer(data, np.float32).reshape(shape)
    scanner = DoseSimulator(
        image.shape,
        (pixel_mm, pixel_mm),
        noise_free=True,
        electronic_noise=0.0,
        tube_current_modulation=0.0,
    )
    kernel = estimate_kernel(scanner, image)
    if kernel is not None:
        scanner = scanner.tuned(kernel=kernel)
    estimate = estimate_noise(scanner, image)
    if estimate is not None:
        return estimate.photons
    known = scanner.low_dose(image, 1.0, seed=0) - image
    ratio = _difference(image) / max(_difference(known), 1e-6)
    return scanner.photons / ratio**2 if ratio else np.inf


def _difference(image: np.ndarray) -> float:
    differences = np.abs(np.diff(image, axis=-1))
    return float(np.median(differences)) if differences.size else 0.0


def _check_pixel(pixel_mm) -> float:
    if not 0 < pixel_mm < 100:
        raise CtKerasError(
            "CTK-E000",
            "invalid pixel spacing",
            received=pixel_mm,
            expected="between 0 and 100 mm",
        )
    return float(pixel_mm)
