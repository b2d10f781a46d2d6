"""Photons, kernel and noise of a series, as dose simulation needs them.

They are measured once, in a few slices, and passed to the simulator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ct_keras.dicom import Series, SlicePixels
from ct_keras.errors import CtKerasError
from ct_keras.simulation.dose import DoseSimulator
from ct_keras.simulation.estimates import estimate_noise, estimate_share
from ct_keras.simulation.kernels import (
    Kernel,
    between,
    get_kernel,
    kernel_by_name,
    named_share,
)
from ct_keras.simulation.layers import Layers, shared_layers
from ct_keras.simulation.photons import electronic_noise

#: A series with a lower SD (HU) than this, which no scanner reaches, is noise-free.
NOISE_FREE_HU = 2.0
#: Photons per ray, per mAs and mm of slice thickness at 120 kV, as calibration by noise
#: found them in scans of three vendors (620, 630 and 770).
PHOTONS_PER_MAS_MM = 650.0
_TYPICAL_MAS, _TYPICAL_MM, _TYPICAL_KV = 200.0, 3.0, 120.0
#: Tube output grows with this power of the voltage.
_KV_POWER = 2.5
_NOISE_SLICES, _KERNEL_SLICES = 5, 3
#: Weight of the texture next to a known name. In real scans with B30f it is measured as
#: 0.13 to 0.22 too soft, which alone would lose half of the noise above 0.6 per mm.
_TEXTURE_WEIGHT = 0.3
_AIR_HU, _CLIPPED_SHARE = -990.0, 0.005


@dataclass(frozen=True)
class Calibration:
    """The properties of a series that dose simulation needs; see `calibrate`.

    Attributes:
        photons: Incident photons per ray at the dose of the series.
        origin: Where `photons` comes from: "given", "noise", "mas" or "typical".
        kernel: Reconstruction kernel of the noise.
        kernel_origin: "given", "name and texture", "texture" or "name".
        noise_hu: Measured SD in soft tissue, None if there was too little of it.
        noise_free: Whether the series has no noise of its own.
        floor_hu: HU value at which the series is clipped, or None.
        currents: Tube current of each slice relative to the median; all 1 if not used.
        layers: For each slice, what it shares with its neighbours; see `shared_layers`.
        physics: Other settings: `bowtie`, `tube_current_modulation`, `electronic_noise`
            and `views` of `DoseSimulator`.
    """

    photons: float
    origin: str
    kernel: Kernel
    kernel_origin: str
    noise_hu: float | None
    noise_free: bool
    floor_hu: float | None
    currents: tuple[float, ...] = ()
    layers: tuple[Layers, ...] = ()
    physics: tuple[tuple[str, object], ...] = ()

    def simulator(
        self, shape: tuple[int, int], spacing_mm: tuple[float, float]
    ) -> DoseSimulator:
        """Returns the simulator for slices of the series on a pixel grid."""
        return DoseSimulator(
            shape,
            spacing_mm,
            kernel=self.kernel,
            photons=self.photons,
            noise_free=self.noise_free,
            floor_hu=self.floor_hu,
            **dict(self.physics),
        )

    def of_slice(self, slice_index: int) -> dict:
        """Returns the arguments of `low_doses` that differ between slices."""
        return {
            "current": self.currents[slice_index],
            "layers": self.layers[slice_index],
        }


def calibrate(
    series: Series,
    *,
    kernel: str | Kernel = "auto",
    photons: float | None = None,
    noise_free: bool | None = None,
    longitudinal: bool = True,
    **physics,
) -> Calibration:
    """Measures the properties of a series that dose simulation needs.

    Noise level and noise texture are measured in a few slices; the kernel follows from
    the scanner's name for it and the texture. A series without measurable noise (below
    2 HU, as in a phantom) gets the whole noise of the lower dose instead of the
    difference from full dose. Without soft tissue to measure in, the photon count
    follows from mAs, thickness and voltage if tagged, otherwise from those of a typical
    scan.

    Args:
        series: The series at full dose.
        kernel: "auto" or a kernel; see `KERNELS`.
        photons: Incident photons per ray at full dose; None to measure them.
        noise_free: Whether the series has no noise of its own; None to measure it.
        longitudinal: Whether the tagged tube current of each slice is used.
        **physics: `bowtie`, `tube_current_modulation`, `electronic_noise` and `views`
            of `DoseSimulator`. The electronic noise follows from the slice thickness by
            default.

    Raises:
        CtKerasError: CTK-E000, if an option is invalid; CTK-E037, if the pixel spacing
            is unknown; CTK-E063, for pictures.
    """
    _check_series(series)
    if physics.get("electronic_noise") is None:
        thickness_mm = series.slice_thickness_mm or _TYPICAL_MM
        physics["electronic_noise"] = electronic_noise(thickness_mm)
    simulator = DoseSimulator(series.shape[1:], series.spacing_mm[1:], **physics)
    currents = relative_currents(series) if longitudinal else (1.0,) * len(series)
    places = _spread(len(series), _NOISE_SLICES)
    samples = {index: series.read(index) for index in places}
    chosen, kernel_origin = _choose_kernel(kernel, simulator, samples, series.kernel)
    noise_hu, measured = _measure(simulator.tuned(kernel=chosen), samples, currents)
    if noise_free is None:
        noise_free = noise_hu is not None and noise_hu < NOISE_FREE_HU
    if noise_free and "texture" in kernel_origin:
        # The measured texture is that of the anatomy.
        chosen, kernel_origin = kernel_by_name(series.kernel), "name"
    origin = "given"
    if photons is None and measured is not None and not noise_free:
        photons, origin = measured, "noise"
    elif photons is None:
        photons, origin = _photons_by_exposure(series)
    return Calibration(
        photons=simulator.tuned(photons=photons).photons,
        origin=origin,
        kernel=chosen,
        kernel_origin=kernel_origin,
        noise_hu=noise_hu,
        noise_free=noise_free,
        floor_hu=None if noise_free else _clipped_at(samples),
        currents=currents,
        layers=_layers(series),
        physics=tuple(sorted(physics.items())),
    )


def relative_currents(series: Series) -> tuple[float, ...]:
    """Returns each slice's tube current over the median, all 1 if not tagged."""
    currents = series.tube_currents_ma
    if not all(currents):
        return (1.0,) * len(series)
    return tuple((np.array(currents) / np.median(currents)).tolist())


def _layers(series: Series) -> tuple[Layers, ...]:
    """Returns what slices share; nothing without their places and thickness."""
    places, thickness_mm = series.heights_mm, series.slice_thickness_mm
    if places is None or not thickness_mm:
        return ((),) * len(series)
    return shared_layers(places, thickness_mm)


def _measure(
    simulator: DoseSimulator,
    samples: Mapping[int, SlicePixels],
    currents: Sequence[float],
) -> tuple[float | None, float | None]:
    """Returns the median SD and photons over slices, None without soft tissue."""
    found = []
    for slice_index, pixels in samples.items():
        estimate = estimate_noise(simulator, pixels.hu, padding=pixels.padding)
        if estimate is not None:
            photons = estimate.photons / currents[slice_index]
            found.append((estimate.sd_hu, photons))
    if not found:
        return None, None
    noise_hu, photons = np.median(found, axis=0)
    return float(noise_hu), float(photons)


def _spread(count: int, wanted: int) -> list[int]:
    """Returns up to `wanted` slice indices spread evenly over a series."""
    wanted = min(count, wanted)
    return [int((index + 0.5) * count / wanted) for index in range(wanted)]


def _check_series(series: Series) -> None:
    if series.scale is not None:
        raise CtKerasError(
            "CTK-E063",
            "the noise of a dose is known for CT only",
            received="grey values of pictures",
            expected="HU",
            fix="train on pairs of pictures (layout images of convert)",
        )
    if not np.isfinite(series.spacing_mm[1:]).all():
        raise CtKerasError(
            "CTK-E037",
            "the pixel spacing is unknown, and the noise texture depends on it",
            fix="use a series with PixelSpacing, or give the pixel size of a file "
            "(--pixel-spacing of simulate and convert)",
        )


def _choose_kernel(kernel, simulator, samples, name) -> tuple[Kernel, str]:
    """Returns the kernel as given, or by the scanner's name and the noise texture.

    A known name counts more than the texture, which varies between slices and takes
    kernels for softer than they are.
    """
    if kernel != "auto":
        return get_kernel(kernel), "given"
    found = []
    for index in _spread(len(samples), _KERNEL_SLICES):
        pixels = list(samples.values())[index]
        share = estimate_share(simulator, pixels.hu, padding=pixels.padding)
        if share is not None:
            found.append(share)
    named = named_share(name)
    if not found:
        return kernel_by_name(name), "name"
    seen = sorted(found)[len(found) // 2]
    if named is None:
        return between(seen), "texture"
    share = round(named + _TEXTURE_WEIGHT * (seen - named), 2)
    return between(share), "name and texture"


def _photons_by_exposure(series: Series) -> tuple[float, str]:
    mas = series.exposure_mas
    thickness_mm = series.slice_thickness_mm or _TYPICAL_MM
    voltage = (series.kvp or _TYPICAL_KV) / _TYPICAL_KV
    exposure = (mas or _TYPICAL_MAS) * thickness_mm * voltage**_KV_POWER
    return PHOTONS_PER_MAS_MM * exposure, "mas" if mas else "typical"


def _clipped_at(samples) -> float | None:
    """Returns the lowest value if it lies in air and many pixels have it, else None."""
    values = np.concatenate([pixels.hu[~pixels.padding] for pixels in samples.values()])
    if not values.size:
        return None
    lowest = values.min()
    clipped = np.mean(values == lowest) > _CLIPPED_SHARE
    return float(lowest) if clipped and lowest < _AIR_HU else None
