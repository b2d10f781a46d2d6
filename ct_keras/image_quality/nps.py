"""Noise power spectrum: the noise power at every frequency.

    NPS(u, v) = (dx dy / (Nx Ny)) <|DFT2(ROI - trend)|^2>   in HU^2 mm^2

Its integral over frequency is the variance. Divided by the variance it is the nNPS in
mm^2, which describes texture independently of the noise level: a denoiser that leaves
coarse noise shifts the nNPS to low frequencies.

Reference:
    ICRU Report 87, 2012; AAPM Report 233 (TG-233), 2019.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ct_keras.errors import CtKerasError

TRENDS = ("quadratic", "mean", "none")


@dataclass(frozen=True, eq=False)
class NoisePower:
    """A noise power spectrum.

    Attributes:
        power: (rows, columns), HU^2 mm^2, frequencies in the order of `fftfreq`.
        spacing_mm: (row, column) pixel spacing.
        regions: Number of regions averaged.
    """

    power: np.ndarray
    spacing_mm: tuple[float, float]
    regions: int

    @property
    def cell(self) -> float:
        """The area du dv of one frequency sample, mm^-2."""
        return 1 / float(np.prod(np.multiply(self.power.shape, self.spacing_mm)))

    @property
    def variance(self) -> float:
        """The integral of the spectrum, HU^2."""
        return float(self.power.sum() * self.cell)

    @property
    def frequency_mm(self) -> np.ndarray:
        """(rows, columns) radial frequency of every sample in cycles per mm."""
        down, across = (
            np.fft.fftfreq(count, step)
            for count, step in zip(self.power.shape, self.spacing_mm, strict=True)
        )
        return np.hypot(down[:, None], across)

    def radial(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns (frequency, NPS) averaged over rings up to the Nyquist frequency.

        Rings are as wide as the coarser of the two frequency steps; the frequency of a
        ring is the mean of its samples.
        """
        frequency = self.frequency_mm
        extent = np.multiply(self.power.shape, self.spacing_mm)
        step = 1 / extent.min()
        nyquist = 0.5 / max(self.spacing_mm)
        ring = np.rint(frequency / step).astype(int)
        inside = frequency <= nyquist * (1 + 1e-9)
        count = np.bincount(ring[inside])
        filled = count > 0
        means = [
            np.bincount(ring[inside], values[inside])[filled] / count[filled]
            for values in (frequency, self.power)
        ]
        return means[0], means[1]

    def normalised(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns (frequency, nNPS): the radial NPS over the variance, in mm^2.

        NaN without noise.
        """
        frequency, power = self.radial()
        return frequency, power / (self.variance or math.nan)


def noise_power_spectrum(
    regions: np.ndarray,
    spacing_mm: tuple[float, float],
    *,
    trend: str = "quadratic",
) -> NoisePower:
    """Measures the noise power spectrum in regions of uniform material.

    Args:
        regions: (count, rows, columns) HU.
        spacing_mm: (row, column) pixel spacing.
        trend: What is subtracted from every region first: its second-order
            least-squares polynomial, its mean, or nothing. A trend with p parameters
            also removes the share p / (rows columns) of white noise. "none" is for
            regions whose mean over repeats was subtracted before; see
            `noise_of_repeats`.

    Raises:
        CtKerasError: CTK-E041, if `regions` is not a stack of images; CTK-E000, for an
            unknown trend.
    """
    regions = np.asarray(regions, np.float64)
    if regions.ndim != 3 or regions.size == 0:
        raise CtKerasError(
            "CTK-E041",
            "the noise power spectrum needs a stack of regions",
            received=regions.shape,
            expected="(count, rows, columns)",
        )
    _, rows, columns = regions.shape
    residual = _without_trend(regions, trend)
    power = np.mean(np.abs(np.fft.fft2(residual)) ** 2, axis=0)
    power *= np.prod(spacing_mm) / (rows * columns)
    spacing = (float(spacing_mm[0]), float(spacing_mm[1]))
    return NoisePower(power, spacing, len(regions))


def noise_of_repeats(images: np.ndarray) -> np.ndarray:
    """Returns the noise of repeated scans: each minus their mean.

    This removes what all repeats share (cupping, edges). The factor sqrt(n / (n - 1))
    restores the variance removed with the mean; for two repeats, the result is their
    difference over sqrt(2).

    Args:
        images: (repeats, ..., rows, columns), at least two repeats.

    Raises:
        CtKerasError: CTK-E041, for a single repeat.
    """
    images = np.asarray(images, np.float64)
    count = len(images)
    if count < 2:
        raise CtKerasError(
            "CTK-E041", "noise needs repeats", received=count, expected="at least 2"
        )
    return (images - images.mean(axis=0)) * np.sqrt(count / (count - 1))


def peak_frequency(frequency: np.ndarray, power: np.ndarray) -> float:
    """Returns the frequency of the maximum of a radial spectrum, in cycles per mm."""
    return float(frequency[np.argmax(power)])


def mean_radial_frequency(frequency: np.ndarray, power: np.ndarray) -> float:
    """Returns the integral of f NPS over that of NPS, in cycles per mm.

    For a spectrum ``exp(-4 pi^2 s^2 f^2)`` it is ``1 / (2 pi^1.5 s)``; NaN without
    noise.
    """
    weight = float(np.trapezoid(power, frequency))
    if weight == 0:
        return math.nan
    return float(np.trapezoid(frequency * power, frequency)) / weight


def nnps_difference(ours: NoisePower, reference: NoisePower) -> float:
    """Returns the RMS difference of two radial nNPS over frequency, in mm^2.

    Raises:
        CtKerasError: CTK-E041, if they were measured on different grids.
    """
    if (ours.power.shape, ours.spacing_mm) != (
        reference.power.shape,
        reference.spacing_mm,
    ):
        raise CtKerasError(
            "CTK-E041",
            "noise power spectra of different grids cannot be compared",
            received=(ours.power.shape, ours.spacing_mm),
            expected=(reference.power.shape, reference.spacing_mm),
        )
    curves = [spectrum.normalised()[1] for spectrum in (ours, reference)]
    return float(np.sqrt(np.mean(np.subtract(*curves) ** 2)))


def squares(
    images: np.ndarray, centers: Sequence[tuple[float, float]], size: int
) -> np.ndarray:
    """Cuts square regions from images.

    Args:
        images: (count, rows, columns).
        centers: (row, column) of the centre of each square, rounded to whole pixels.
        size: Rows and columns of a square.

    Returns:
        (count, squares, size, size).

    Raises:
        CtKerasError: CTK-E041, if a square extends beyond the image.
    """
    cut = []
    for row, column in centers:
        top, left = (round(float(place) - (size - 1) / 2) for place in (row, column))
        square = images[:, max(top, 0) : top + size, max(left, 0) : left + size]
        if square.shape[1:] != (size, size):
            raise CtKerasError(
                "CTK-E041",
                "a region extends beyond the image",
                received=(row, column, size),
                expected=f"inside {images.shape[1:]}",
            )
        cut.append(square)
    return np.stack(cut, axis=1)


def _without_trend(regions: np.ndarray, trend: str) -> np.ndarray:
    if trend not in TRENDS:
        raise CtKerasError(
            "CTK-E000", "unknown trend", received=trend, expected=" or ".join(TRENDS)
        )
    if trend == "none":
        return regions
    if trend == "mean":
        return regions - regions.mean(axis=(1, 2), keepdims=True)
    _, rows, columns = regions.shape
    y = np.linspace(-1, 1, rows)[:, None] * np.ones(columns)
    x = np.linspace(-1, 1, columns) * np.ones((rows, 1))
    terms = [np.ones_like(x), x, y, x * x, x * y, y * y]
    basis, _ = np.linalg.qr(np.stack([term.ravel() for term in terms], axis=1))
    flat = regions.reshape(len(regions), -1)
    return (flat - (flat @ basis) @ basis.T).reshape(regions.shape)
