"""Parallel-beam forward projection and filtered back-projection.

Sinograms are (bins, views): views evenly spaced over 180 degrees, starting with the sum
along the columns of the image and rotating as scikit-image's `radon` does; bin
``bins // 2`` lies on the axis through the image centre. Line integrals are in the unit
of the image times mm.
"""

from __future__ import annotations

import copy
from functools import lru_cache

import numpy as np
import scipy.fft

from ct_keras.simulation.kernels import Kernel, get_kernel
from ct_keras.simulation.polar import PolarGrid

_WORKERS = 2
#: Detector pitch of the simulated scanner at the isocentre, in mm: fine enough for all
#: frequencies that the sharpest kernel passes.
BIN_MM = 0.4
#: Detector pitch of `pixel_beam` in columns, for pixels up to 1.4 mm.
_BIN_COLUMNS = 0.45
VIEWS = 720


class ParallelBeam:
    """The geometry of one image grid, prepared once and used for every slice.

    Args:
        shape: (rows, columns).
        spacing_mm: (row, column) pixel spacing in mm; need not be equal.
        views: Number of views over 180 degrees.
        bin_mm: Detector pitch in mm.
        first_view: Direction of the first view, in angular steps.

    Attributes:
        bins: Number of detector bins; they cover the image's diagonal.
        position_mm: (bins,) signed distance of each bin from the axis.
        frequency_mm: (bins // 2 + 1,) frequencies of a view in cycles per mm.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        spacing_mm: tuple[float, float] = (1.0, 1.0),
        *,
        views: int = VIEWS,
        bin_mm: float = BIN_MM,
        first_view: float = 0.0,
    ):
        self.shape = tuple(shape)
        self.spacing_mm = tuple(float(value) for value in spacing_mm)
        self.views = int(views)
        self.bin_mm = float(bin_mm)
        self.first_view = float(first_view)
        diagonal = np.hypot(*np.multiply(self.shape, self.spacing_mm))
        # Four bins of margin, so that the two ends of a view do not wrap around.
        self.bins = scipy.fft.next_fast_len(int(diagonal / bin_mm) + 5, real=True)
        self.position_mm = (np.arange(self.bins) - self.bins // 2) * self.bin_mm
        self.frequency_mm = np.fft.rfftfreq(self.bins, self.bin_mm)
        self._polar = PolarGrid(
            self.shape,
            self.spacing_mm,
            frequencies=self.frequency_mm.size,
            step=1 / (self.bins * self.bin_mm),
            views=self.views,
            first=first_view,
        )
        middle = 2j * np.pi * self.frequency_mm * self.position_mm[0]
        self._to_middle = np.exp(-middle).astype(np.complex64)[:, None]

    def scaled(self, factor: float) -> ParallelBeam:
        """Returns the same geometry with all lengths multiplied, on the same tables.

        Args:
            factor: Of the pixel spacing and of the detector pitch, above 0.
        """
        other = copy.copy(self)
        other.spacing_mm = tuple(value * factor for value in self.spacing_mm)
        other.bin_mm = self.bin_mm * factor
        other.position_mm = self.position_mm * factor
        other.frequency_mm = self.frequency_mm / factor
        other._polar = self._polar.scaled(factor)
        return other

    def subset(self, index: int, count: int) -> ParallelBeam:
        """Returns the geometry of every `count`-th view, starting with view `index`.

        Args:
            index: First view, below `count`.
            count: A divisor of the number of views.
        """
        return ParallelBeam(
            self.shape,
            self.spacing_mm,
            views=self.views // count,
            bin_mm=self.bin_mm,
            first_view=(self.first_view + index) / count,
        )

    def project(self, image: np.ndarray, *, aperture_mm: float = 0.0) -> np.ndarray:
        """Returns the line integrals through an image that is constant in each pixel.

        Args:
            image: (rows, columns).
            aperture_mm: Width over which a detector bin averages.

        Returns:
            float32 (bins, views).
        """
        spectrum = self._polar.to_polar(image) * self._to_middle.conj()
        blur = np.sinc(self.frequency_mm * aperture_mm) / self.bin_mm
        spectrum *= blur.astype(np.float32)[:, None]
        return scipy.fft.irfft(spectrum, self.bins, axis=0, workers=_WORKERS)

    def adjoint(self, sinogram: np.ndarray, *, aperture_mm: float = 0.0) -> np.ndarray:
        """Applies the transpose of `project`, for iterative reconstruction.

        For all images and sinograms the sum of ``project(image) * sinogram`` is that of
        ``image * adjoint(sinogram)``.

        Args:
            sinogram: (bins, views).
            aperture_mm: As for `project`.

        Returns:
            float32 (rows, columns), units of the sinogram times mm.
        """
        blur = np.sinc(self.frequency_mm * aperture_mm) / self.bin_mm
        return self._back_project(
            [sinogram], blur * (self.views / np.pi), pixel=self._polar.pixel
        )[0]

    def response(self, kernel: Kernel) -> np.ndarray:
        """Returns the ramp times the kernel's window at `frequency_mm` (float64)."""
        return self.frequency_mm * kernel.window(self.frequency_mm)

    def reconstruct_noise(
        self, sinograms: list[np.ndarray], kernel: Kernel
    ) -> list[np.ndarray]:
        """Filters and back-projects sinograms of noise, several at once.

        The views are filtered as if they were periodic, which does not affect noise and
        halves the work. For images use `fbp`.

        Args:
            sinograms: float32 (bins, views) each.
            kernel: The kernel.

        Returns:
            float32 (rows, columns) each, per mm.
        """
        return self._back_project(sinograms, self.response(kernel))

    def noise_variance(self, variance: np.ndarray, kernel: Kernel) -> np.ndarray:
        """Returns the variance of `reconstruct_noise` in every pixel.

        Args:
            variance: (bins, views) variances of independent noise in the sinogram.
            kernel: The kernel.

        Returns:
            float32 (rows, columns), per mm^2.
        """
        spread = np.fft.irfft(self.response(kernel), self.bins) ** 2
        gain = np.fft.rfft(spread).real * (np.pi / self.views)
        map_ = self._back_project([np.asarray(variance, np.float32)], gain)[0]
        return np.maximum(map_, 0)

    def reconstruct(self, sinogram: np.ndarray, kernel: Kernel) -> np.ndarray:
        """Filters and back-projects the sinogram of an object.

        The ramp is sampled in space and the views are padded, so that the mean is
        correct (Kak and Slaney, section 3.3).

        Args:
            sinogram: (bins, views).
            kernel: The kernel.

        Returns:
            float32 (rows, columns), per mm if the sinogram holds line integrals.
        """
        padded = scipy.fft.next_fast_len(2 * self.bins, real=True)
        place = np.rint(np.fft.fftfreq(padded, 1 / padded)).astype(int)
        odd = place % 2 == 1
        ramp = np.zeros(padded)
        ramp[odd] = -1 / (np.pi * place[odd]) ** 2
        ramp[0] = 0.25
        frequency = np.fft.rfftfreq(padded, self.bin_mm)
        response = scipy.fft.rfft(ramp).real / self.bin_mm * kernel.window(frequency)
        sinogram = np.asarray(sinogram, np.float32)
        spectrum = scipy.fft.rfft(sinogram, padded, axis=0, workers=_WORKERS)
        spectrum *= response.astype(np.float32)[:, None]
        filtered = scipy.fft.irfft(spectrum, padded, axis=0, workers=_WORKERS)
        return self._back_project(
            [filtered[: self.bins]], np.ones(self.frequency_mm.size)
        )[0]

    def _back_project(self, sinograms, response, *, pixel=None) -> list[np.ndarray]:
        """Returns the sum over views of the sinograms filtered by a response.

        Values are taken at the pixel centres; with `pixel`, averaged over each pixel.
        """
        # Negative frequencies are the conjugates of the positive ones.
        weight = np.full(self.frequency_mm.size, 2 * np.pi / self.views / self.bins)
        weight[0] /= 2
        if self.bins % 2 == 0:
            weight[-1] /= 2
        factor = (weight * response).astype(np.float32)[:, None] * self._to_middle
        if pixel is not None:
            factor = factor * pixel
        spectra = []
        for sinogram in sinograms:
            sinogram = np.asarray(sinogram, np.float32)
            spectrum = scipy.fft.rfft(sinogram, axis=0, workers=_WORKERS)
            spectra.append(spectrum * factor)
        return self._polar.to_images(spectra)


def radon(
    image: np.ndarray,
    *,
    spacing_mm: tuple[float, float] = (1.0, 1.0),
    views: int = VIEWS,
    bin_mm: float | None = None,
    aperture_mm: float = 0.0,
) -> np.ndarray:
    """Projects an image along parallel rays.

    Args:
        image: (rows, columns), for instance attenuation per mm.
        spacing_mm: (row, column) pixel spacing in mm.
        views: Number of views over 180 degrees.
        bin_mm: Detector pitch in mm; None for the smaller pixel spacing.
        aperture_mm: Width over which a detector bin averages.

    Returns:
        float32 (bins, views): line integrals, image units times mm.
    """
    image = np.asarray(image, np.float32)
    bin_mm = bin_mm or min(spacing_mm)
    beam = ParallelBeam(image.shape, spacing_mm, views=views, bin_mm=bin_mm)
    return beam.project(image, aperture_mm=aperture_mm)


def fbp(
    sinogram: np.ndarray,
    shape: tuple[int, int],
    *,
    spacing_mm: tuple[float, float] = (1.0, 1.0),
    bin_mm: float | None = None,
    kernel: str | Kernel = "ramp",
) -> np.ndarray:
    """Reconstructs an image from a sinogram by filtered back-projection.

    Args:
        sinogram: (bins, views), views evenly spaced over 180 degrees.
        shape: (rows, columns) of the image.
        spacing_mm: (row, column) pixel spacing in mm.
        bin_mm: Detector pitch in mm; None for the smaller pixel spacing.
        kernel: A name in `KERNELS` or a `Kernel`; its MTF is that of a sinogram taken
            with ``aperture_mm=APERTURE_MM``.

    Returns:
        float32 (rows, columns), units of the sinogram per mm.

    Raises:
        CtKerasError: CTK-E000 for an unknown kernel.
    """
    bins, views = np.shape(sinogram)
    bin_mm = bin_mm or min(spacing_mm)
    beam = ParallelBeam(shape, spacing_mm, views=views, bin_mm=bin_mm)
    framed = np.zeros((beam.bins, views), np.float32)
    shift = beam.bins // 2 - bins // 2
    start, stop = max(0, shift), min(beam.bins, bins + shift)
    framed[start:stop] = sinogram[start - shift : stop - shift]
    return beam.reconstruct(framed, get_kernel(kernel))


@lru_cache(maxsize=4)
def parallel_beam(
    shape: tuple[int, int],
    spacing_mm: tuple[float, float],
    *,
    views: int = VIEWS,
    bin_mm: float = BIN_MM,
) -> ParallelBeam:
    """Returns a cached `ParallelBeam`.

    Preparing the tables of a grid takes longer than simulating a slice.
    """
    return ParallelBeam(shape, spacing_mm, views=views, bin_mm=bin_mm)


def pixel_beam(
    shape: tuple[int, int], spacing_mm: tuple[float, float], *, views: int = VIEWS
) -> ParallelBeam:
    """Returns a `ParallelBeam` with rays 0.45 columns apart.

    All pixel spacings of one aspect ratio share the tables, so that scans of many
    spacings can be simulated in turn.
    """
    rows_mm, columns_mm = spacing_mm
    aspect = round(rows_mm / columns_mm, 6)
    unit = parallel_beam(shape, (aspect, 1.0), views=views, bin_mm=_BIN_COLUMNS)
    return unit.scaled(columns_mm)
