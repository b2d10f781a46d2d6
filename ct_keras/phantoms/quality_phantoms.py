"""Phantoms of known image quality: water, contrast rods, low-contrast discs.

They are computed from the analytic Fourier transform of a disc, ``R J1(2 pi R f) / f``,
times the kernel's MTF. So the edges of the rods have exactly this MTF, and sampling at
the pixels causes aliasing as in a scanner's image. Noise comes from `DoseSimulator`,
with the photon count that gives the middle of the water a set standard deviation at
full dose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.special import j1

from ct_keras.errors import CtKerasError
from ct_keras.hu import FLOOR_HU
from ct_keras.simulation.dose import DoseSimulator
from ct_keras.simulation.kernels import Kernel, get_kernel

AIR_HU = -1000.0
#: Diameter of the water cylinder as a share of the field of view.
_FILLED = 0.875
_OVERSAMPLING = 2
_ROD_MM, _RING_SHARE = 25.0, 0.5
#: Rods: name -> HU. Air, acrylic and bone as nominal in the ACR phantom 464.
ROD_HU = {"air": -1000.0, "polystyrene": -35.0, "acrylic": 120.0, "bone": 955.0}
#: Low-contrast discs as (HU, diameter in mm), those of the MITA body phantom CCT189.
DISCS = ((14.0, 3.0), (7.0, 5.0), (5.0, 7.0), (3.0, 10.0))
_DISC_COPIES = 2


@dataclass(frozen=True)
class Insert:
    """A round insert in the water.

    Attributes:
        name: Its name in results.
        contrast_hu: Its contrast to water, and so its HU.
        diameter_mm: Its diameter.
        offset_mm: (row, column) offset of its centre from the image centre.
    """

    name: str
    contrast_hu: float
    diameter_mm: float
    offset_mm: tuple[float, float]


@dataclass(frozen=True, eq=False)
class QualityPhantom:
    """One slice of a water cylinder with inserts, without noise.

    Attributes:
        hu: float32 (rows, columns).
        spacing_mm: Pixel spacing in mm, the same in both directions.
        diameter_mm: Diameter of the water cylinder.
        inserts: The inserts in the water.
        kernel: The reconstruction kernel that blurs its edges.
    """

    hu: np.ndarray
    spacing_mm: float
    diameter_mm: float
    inserts: tuple[Insert, ...]
    kernel: Kernel

    def center(self, insert: Insert) -> tuple[float, float]:
        """Returns the (row, column) of an insert's centre, in pixels counted from 0."""
        rows, columns = self.hu.shape
        row, column = insert.offset_mm
        return (
            (rows - 1) / 2 + row / self.spacing_mm,
            (columns - 1) / 2 + column / self.spacing_mm,
        )


def water_phantom(
    *, size: int = 256, spacing_mm: float = 0.7, kernel: str | Kernel = "b30"
) -> QualityPhantom:
    """Returns a cylinder of water, 87.5 % of the field of view wide.

    Args:
        size: Rows and columns, at least 64.
        spacing_mm: Pixel spacing in mm.
        kernel: Reconstruction kernel; see `KERNELS`.

    Raises:
        CtKerasError: CTK-E000 for an invalid size or spacing, or an unknown kernel.

    Example:
        >>> phantom = water_phantom(size=64, spacing_mm=2.8)
        >>> phantom.hu.shape, round(phantom.diameter_mm)
        ((64, 64), 157)
    """
    return _make((), size, spacing_mm, kernel)


def rod_phantom(
    *, size: int = 256, spacing_mm: float = 0.7, kernel: str | Kernel = "b30"
) -> QualityPhantom:
    """Returns water with four rods for measuring the TTF; see `ROD_HU`.

    The rods are 25 mm in diameter, or a sixth of the water's diameter if that is less,
    and half-way between the centre and the rim. For the arguments see `water_phantom`.
    """
    radius = _radius(size, spacing_mm)
    width = min(_ROD_MM, radius / 3)
    places = _ring(len(ROD_HU), radius * _RING_SHARE, spacing_mm)
    rods = tuple(
        Insert(name, value, width, place)
        for (name, value), place in zip(ROD_HU.items(), places, strict=True)
    )
    return _make(rods, size, spacing_mm, kernel)


def low_contrast_phantom(
    *,
    size: int = 256,
    spacing_mm: float = 0.7,
    kernel: str | Kernel = "b30",
    discs: Sequence[tuple[float, float]] = DISCS,
) -> QualityPhantom:
    """Returns water with low-contrast discs, each twice, at opposite positions.

    Without its discs it is `water_phantom`, the signal-absent image.

    Args:
        size: See `water_phantom`.
        spacing_mm: See `water_phantom`.
        kernel: See `water_phantom`.
        discs: (HU, diameter in mm) of each.
    """
    radius = _radius(size, spacing_mm) * _RING_SHARE
    places = _ring(_DISC_COPIES * len(discs), radius, spacing_mm)
    inserts = tuple(
        Insert(f"{contrast:g} HU {diameter:g} mm", contrast, diameter, place)
        for (contrast, diameter), place in zip(
            list(discs) * _DISC_COPIES, places, strict=True
        )
    )
    return _make(inserts, size, spacing_mm, kernel)


class PhantomScanner:
    """Scans phantoms of one grid at a known noise level.

    Args:
        water: The water phantom; others must share its grid and kernel.
        noise_hu: Standard deviation in the middle of the water at full dose.
        seed: Determines the noise, together with the repeat and the dose.
    """

    def __init__(self, water: QualityPhantom, *, noise_hu: float = 12.0, seed: int = 0):
        if not (math.isfinite(noise_hu) and noise_hu > 0):
            raise CtKerasError(
                "CTK-E000",
                "invalid noise level",
                received=noise_hu,
                expected="a standard deviation in HU, above 0",
            )
        simulator = DoseSimulator(
            water.hu.shape,
            (water.spacing_mm, water.spacing_mm),
            kernel=water.kernel,
            noise_free=True,
            electronic_noise=0.0,
            tube_current_modulation=0.0,
        )
        rows, columns = water.hu.shape
        found = simulator.noise_sd(water.hu)[rows // 2, columns // 2]
        # Without electronic noise the variance goes with 1 / photons.
        photons = simulator.photons * float(found / noise_hu) ** 2
        self.simulator = simulator.tuned(photons=photons, floor_hu=FLOOR_HU)
        self.seed = int(seed)

    def scan(
        self, phantom: QualityPhantom, doses: Sequence[float], *, repeat: int
    ) -> list[np.ndarray]:
        """Returns one scan of a phantom at each dose.

        Values are clipped at -1024 HU, as on a scanner.

        Args:
            phantom: A phantom on the scanner's grid.
            doses: Fractions of full dose.
            repeat: Number of the scan. Each has independent noise; two phantoms scanned
                with the same number get the same random draws.

        Returns:
            float32 (rows, columns) each.

        Raises:
            CtKerasError: As `DoseSimulator.low_doses`.
        """
        return self.simulator.low_doses(
            phantom.hu, doses, seed=self.seed, slice_index=repeat
        )


def _radius(size: int, spacing_mm: float) -> float:
    if size < 64 or not (math.isfinite(spacing_mm) and spacing_mm > 0):
        raise CtKerasError(
            "CTK-E000",
            "invalid phantom size or spacing",
            received=(size, spacing_mm),
            expected="at least 64 pixels, and a spacing above 0 mm",
        )
    return size * spacing_mm * _FILLED / 2


def _ring(count: int, radius_mm: float, step: float) -> list[tuple[float, float]]:
    """Returns positions on a circle, whole pixels from the centre."""
    angles = 2 * np.pi * (np.arange(count) + 0.5) / count
    places = radius_mm * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return [tuple(place) for place in (np.rint(places / step) * step).tolist()]


def _make(inserts, size, spacing_mm, kernel) -> QualityPhantom:
    radius, kernel = _radius(size, spacing_mm), get_kernel(kernel)
    water = Insert("water", -AIR_HU, 2 * radius, (0.0, 0.0))
    hu = AIR_HU + _draw((water, *inserts), size, spacing_mm, kernel)
    return QualityPhantom(
        hu.astype(np.float32), spacing_mm, 2 * radius, tuple(inserts), kernel
    )


def _draw(discs, size: int, spacing_mm: float, kernel: Kernel) -> np.ndarray:
    """Returns the sum of blurred discs at the pixels, from their spectra."""
    fine, step = size * _OVERSAMPLING, spacing_mm / _OVERSAMPLING
    down = scipy.fft.fftfreq(fine, step)[:, None]
    across = scipy.fft.rfftfreq(fine, step)
    frequency = np.hypot(down, across)
    spectrum = np.zeros(frequency.shape, complex)
    middle = (size - 1) / 2 * spacing_mm
    for disc in discs:
        row, column = (middle + offset for offset in disc.offset_mm)
        phase = np.exp(-2j * np.pi * down * row) * np.exp(-2j * np.pi * across * column)
        shape = _disc_spectrum(frequency, disc.diameter_mm / 2)
        spectrum += disc.contrast_hu * shape * phase
    spectrum *= kernel.mtf(frequency) / step**2
    drawn = scipy.fft.irfft2(spectrum, (fine, fine))
    return drawn[::_OVERSAMPLING, ::_OVERSAMPLING]


def _disc_spectrum(frequency: np.ndarray, radius_mm: float) -> np.ndarray:
    """Returns the Fourier transform of a disc of height 1, in mm^2."""
    safe = np.where(frequency > 0, frequency, 1)
    spectrum = radius_mm * j1(2 * np.pi * radius_mm * safe) / safe
    return np.where(frequency > 0, spectrum, np.pi * radius_mm**2)
