"""Low-dose simulation of a whole series, slice by slice, from its calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ct_keras.dicom import Series, SlicePixels
from ct_keras.progress import track
from ct_keras.simulation.calibration import Calibration, calibrate
from ct_keras.simulation.dose import check_dose
from ct_keras.simulation.rays import Rays, low_dose_rays


class SeriesSimulator:
    """Simulates lower doses of one series.

    Args:
        series: The series at full dose.
        calibration: The result of `calibrate` for this series.

    Attributes:
        calibration: The calibration passed in.
        simulator: The `DoseSimulator` for the slices.
    """

    def __init__(self, series: Series, calibration: Calibration):
        self.calibration = calibration
        self.simulator = calibration.simulator(series.shape[1:], series.spacing_mm[1:])
        self._series = series

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
            seed: Determines the noise, together with the slice index and the dose.
            pixels: The slice, if it has already been read.

        Returns:
            float32 (rows, columns) each, HU; padding is unchanged.

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
        """Returns the arguments of the simulator that differ between slices."""
        return {
            "slice_index": slice_index,
            "padding": pixels.padding,
            **self.calibration.of_slice(slice_index),
        }


def simulate_dose(
    series: Series,
    dose: float,
    seed: int = 0,
    *,
    calibration: Calibration | None = None,
    progress: bool = False,
    **options,
) -> Series:
    """Returns the series as a scan at a lower dose would have produced it.

    Args:
        series: The series at full dose.
        dose: Fraction of its dose, above 0 and at most 1.
        seed: The same seed gives the same noise.
        calibration: Result of `calibrate` for the series; None to measure it here.
        progress: Whether to show a progress bar.
        **options: Options of `calibrate`, used if `calibration` is None.

    Returns:
        The same slices with new values, neither rounded nor clipped to the stored
        range.

    Raises:
        CtKerasError: CTK-E000, if the dose or an option is invalid; CTK-E037, if the
            pixel spacing is unknown.

    Example:
        >>> low = simulate_dose(series, 0.25, seed=1)  # doctest: +SKIP

    Reference:
        Zabic et al., Med Phys 40(3), 031102, 2013, doi:10.1118/1.4789628.
    """
    dose = check_dose(dose)
    simulator = SeriesSimulator(series, calibration or calibrate(series, **options))
    hu = np.empty(series.shape, np.float32)
    for slice_index in track(range(len(series)), "Simulating", enabled=progress):
        hu[slice_index] = simulator.low_doses(slice_index, [dose], seed=seed)[0]
    return series.with_hu(hu)
