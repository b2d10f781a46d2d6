"""Low dose of a whole series: calibrated once, then slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ct_keras.dicom import Series, SlicePixels
from ct_keras.errors import CtKerasError
from ct_keras.progress import track
from ct_keras.simulation.calibration import estimate_kernel, estimate_noise
from ct_keras.simulation.dose import DoseSimulator, check_dose
from ct_keras.simulation.kernels import Kernel, get_kernel, kernel_by_name
from ct_keras.simulation.rays import Rays, low_dose_rays

#: Below this SD (HU) no scanner's image is: the series is taken as free of noise.
NOISE_FREE_HU = 2.0
#: Photons per ray for each mAs and mm of slice at 120 kV, as calibration by noise found
#: them in scans of three makers (620, 630 and 770).
PHOTONS_PER_MAS_MM = 650.0
_TYPICAL_MAS, _TYPICAL_MM, _TYPICAL_KV = 200.0, 3.0, 120.0
#: Tube output grows with this power of the voltage.
_KV_POWER = 2.5
_NOISE_SLICES, _KERNEL_SLICES = 5, 3
_AIR_HU, _CLIPPED_SHARE = -990.0, 0.005


@dataclass(frozen=True)
class Calibration:
    """What was found out about a series before its dose is lowered.

    Attributes:
        photons: Incident photons per ray at the dose of the series.
        origin: Where `photons` comes from: "given", "noise", "mas" or "typical".
        kernel: Reconstruction kernel of the noise.
        kernel_origin: "given", "texture" or "name".
        noise_hu: Measured SD in soft tissue, None where there was too little of it.
        noise_free: Whether the series holds no noise of its own.
        floor_hu: Where the series is clipped, or None.
    """

    photons: float
    origin: str
    kernel: Kernel
    kernel_origin: str
    noise_hu: float | None
    noise_free: bool
    floor_hu: float | None


class SeriesSimulator:
    """Lowers the dose of one series.

    The noise of the series is measured in a few slices, and so is its texture, from
    which the kernel follows. A series without measurable noise (below 2 HU, a phantom)
    gets all of the noise of the dose instead of the difference to full dose. If there
    is no soft tissue to measure in, photons follow from mAs, thickness and voltage
    where tagged, else from those of a typical scan.

    Args:
        series: The series at full dose.
        kernel: "auto" or a kernel; see `KERNELS`.
        photons: Incident photons per ray at full dose; None for calibration.
        noise_free: Whether the series holds no noise; None to measure it.
        longitudinal: Whether the tagged tube current of each slice is followed.
        **options: `bowtie`, `tube_current_modulation`, `electronic_noise` and `views`
            of `DoseSimulator`.

    Attributes:
        calibration: What was found.
        simulator: The `DoseSimulator` for the slices.

    Raises:
        CtKerasError: CTK-E037, if the pixel spacing is unknown.
    """

    def __init__(
        self,
        series: Series,
        *,
        kernel: str | Kernel = "auto",
        photons: float | None = None,
        noise_free: bool | None = None,
        longitudinal: bool = True,
        **options,
    ):
        simulator = _plain_simulator(series, **options)
        self._series = series
        self._currents = _relative_currents(series) if longitudinal else None
        places = _spread(len(series), _NOISE_SLICES)
        samples = {index: series.read(index) for index in places}
        chosen, kernel_origin = _choose_kernel(
            kernel, simulator, samples, series.kernel
        )
        noise_hu, measured = self._measure(simulator.tuned(kernel=chosen), samples)
        if noise_free is None:
            noise_free = noise_hu is not None and noise_hu < NOISE_FREE_HU
        if noise_free and kernel_origin == "texture":
            # What was found is the texture of the anatomy.
            chosen, kernel_origin = kernel_by_name(series.kernel), "name"
        origin = "given"
        if photons is None and measured is not None and not noise_free:
            photons, origin = measured, "noise"
        elif photons is None:
            photons, origin = _photons_by_exposure(series)
        floor_hu = None if noise_free else _clipped_at(samples)
        self.simulator = simulator.tuned(
            kernel=chosen, photons=photons, noise_free=noise_free, floor_hu=floor_hu
        )
        self.calibration = Calibration(
            self.simulator.photons,
            origin,
            chosen,
            kernel_origin,
            noise_hu,
            noise_free,
            floor_hu,
        )

    def low_doses(
        self,
        slice_index: int,
        doses: Sequence[float],
        *,
        seed: int = 0,
        pixels: SlicePixels | None = None,
    ) -> list[np.ndarray]:
        """Returns a slice at several doses.

        Args:
            slice_index: 0 is the slice nearest the feet.
            doses: Fractions of the dose of the series.
            seed: With the slice index and the dose it decides the noise.
            pixels: The slice, if it was read already.

        Returns:
            float32 (rows, columns) each, HU; padding bit for bit.

        Raises:
            CtKerasError: CTK-E000, if a dose is not above 0 and at most 1.
        """
        pixels = pixels or self._series.read(slice_index)
        return self.simulator.low_doses(
            pixels.hu, doses, seed=seed, **self._facts(slice_index, pixels)
        )

    def low_dose_rays(
        self,
        slice_index: int,
        dose: float,
        *,
        seed: int = 0,
        pixels: SlicePixels | None = None,
    ) -> Rays:
        """Returns the sinogram of what `low_doses` returns for the same arguments."""
        pixels = pixels or self._series.read(slice_index)
        facts = self._facts(slice_index, pixels)
        return low_dose_rays(self.simulator, pixels.hu, dose, seed=seed, **facts)

    def _facts(self, slice_index: int, pixels: SlicePixels) -> dict:
        """What the simulator must know of a slice."""
        return {
            "slice_index": slice_index,
            "padding": pixels.padding,
            "current": self._current(slice_index),
        }

    def _current(self, slice_index: int) -> float:
        return 1.0 if self._currents is None else float(self._currents[slice_index])

    def _measure(self, simulator, samples) -> tuple[float | None, float | None]:
        """Returns the median SD and photons over slices, None without tissue."""
        found = []
        for slice_index, pixels in samples.items():
            estimate = estimate_noise(simulator, pixels.hu, padding=pixels.padding)
            if estimate is not None:
                photons = estimate.photons / self._current(slice_index)
                found.append((estimate.sd_hu, photons))
        if not found:
            return None, None
        noise_hu, photons = np.median(found, axis=0)
        return float(noise_hu), float(photons)


def simulate_dose(
    series: Series, dose: float, seed: int = 0, *, progress: bool = False, **options
) -> Series:
    """Returns a series as a scan at a lower dose would have given it.

    Args:
        series: The series at full dose.
        dose: Fraction of its dose, above 0 and at most 1.
        seed: The same seed gives the same noise.
        progress: Whether to show a progress bar.
        **options: Of `SeriesSimulator`.

    Returns:
        A series of the same slices with other values, neither rounded nor clipped to
        the stored range.

    Raises:
        CtKerasError: CTK-E000, if the dose or an option is impossible; CTK-E037, if the
            pixel spacing is unknown.

    Example:
        >>> low = simulate_dose(series, 0.25, seed=1)  # doctest: +SKIP

    Reference:
        Zabic et al., Med Phys 40(3), 031102, 2013, doi:10.1118/1.4789628.
    """
    dose = check_dose(dose)
    simulator = SeriesSimulator(series, **options)
    hu = np.empty(series.shape, np.float32)
    for slice_index in track(range(len(series)), "Simulating", enabled=progress):
        hu[slice_index] = simulator.low_doses(slice_index, [dose], seed=seed)[0]
    return series.with_hu(hu)


def _spread(count: int, wanted: int) -> list[int]:
    """Returns up to `wanted` slice indices spread evenly over a series."""
    wanted = min(count, wanted)
    return [int((index + 0.5) * count / wanted) for index in range(wanted)]


def _plain_simulator(series: Series, **options) -> DoseSimulator:
    spacing_mm = series.spacing_mm[1:]
    if not np.isfinite(spacing_mm).all():
        raise CtKerasError(
            "CTK-E037",
            "the pixel spacing is unknown, and noise has a size in mm",
            fix="use a series with PixelSpacing",
        )
    return DoseSimulator(series.shape[1:], spacing_mm, **options)


def _choose_kernel(kernel, simulator, samples, name) -> tuple[Kernel, str]:
    """Returns the given kernel, or that of the noise, or that of the scanner's name."""
    if kernel != "auto":
        return get_kernel(kernel), "given"
    found = []
    for index in _spread(len(samples), _KERNEL_SLICES):
        pixels = list(samples.values())[index]
        estimate = estimate_kernel(simulator, pixels.hu, padding=pixels.padding)
        if estimate is not None:
            found.append(estimate)
    if not found:
        return kernel_by_name(name), "name"
    found.sort(key=lambda estimate: estimate.frequencies)
    return found[len(found) // 2], "texture"


def _relative_currents(series: Series) -> np.ndarray | None:
    """Returns the tube current of each slice over the median, None if untagged."""
    currents = [source.tube_current_ma for source in series.sources]
    if not all(currents):
        return None
    return np.array(currents) / np.median(currents)


def _photons_by_exposure(series: Series) -> tuple[float, str]:
    mas = series.exposure_mas
    thickness_mm = series.slice_thickness_mm or _TYPICAL_MM
    voltage = (series.kvp or _TYPICAL_KV) / _TYPICAL_KV
    exposure = (mas or _TYPICAL_MAS) * thickness_mm * voltage**_KV_POWER
    return PHOTONS_PER_MAS_MM * exposure, "mas" if mas else "typical"


def _clipped_at(samples) -> float | None:
    """Returns the lowest value where a share of all pixels sits on it, in air."""
    values = np.concatenate([pixels.hu[~pixels.padding] for pixels in samples.values()])
    if not values.size:
        return None
    lowest = values.min()
    clipped = np.mean(values == lowest) > _CLIPPED_SHARE
    return float(lowest) if clipped and lowest < _AIR_HU else None
