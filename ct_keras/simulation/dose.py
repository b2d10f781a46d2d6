"""Low dose from normal dose: noise is inserted as a low-dose scan would contain it.

The image is projected. The expected count of each ray gives the variance that a lower
dose would add; noise of this variance is drawn, reconstructed with the scan's kernel
and added to the image. Only noise is reconstructed, so nothing else in the image
changes. Noise already in the scan is accounted for: at a quarter of the dose, three
times the variance of the scan is added, not four times.

What is not modelled: beam hardening and scatter (one energy), fan and cone geometry
(parallel rays), focal spot and detector cross-talk in the noise, iterative
reconstruction, slice profiles other than rectangles, and anything outside the field of
view.

Reference:
    Yu et al., J Comput Assist Tomogr 36(4), 477-487, 2012,
    doi:10.1097/RCT.0b013e318258e891.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence

import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.simulation import photons as physics
from ct_keras.simulation.kernels import Kernel, get_kernel
from ct_keras.simulation.layers import Layers
from ct_keras.simulation.projection import (
    BIN_MM,
    VIEWS,
    parallel_beam,
    pixel_beam,
)

#: HU for an attenuation of 1 per mm.
_HU_MM = np.float32(1000 / physics.MU_WATER_MM)


class DoseSimulator:
    """Simulates low-dose slices on one pixel grid.

    Args:
        shape: (rows, columns).
        spacing_mm: (row, column) pixel spacing in mm.
        kernel: Reconstruction kernel, a name in `KERNELS` or a `Kernel`.
        photons: Incident photons per ray at full dose, on the axis of the bowtie; a ray
            covers 0.4 mm of the detector in one of 720 views over 180 degrees.
            `calibrate` estimates the number for a series.
        noise_free: Whether the images have no noise of their own (phantoms); then a
            dose of 1 adds the noise of full dose.
        bowtie: Whether a bowtie filter attenuates the outer rays.
        tube_current_modulation: Strength of the angular modulation of the tube
            current: 0 for none, 0.5 for the least noise, 1 for equal counts.
        electronic_noise: SD of the electronic noise per ray in photons; by default that
            of a 3 mm slice. It adds noise where few photons arrive: at low dose, behind
            shoulders and hips.
        views: Number of views over 180 degrees; the dose is divided among them.
        floor_hu: HU value at which the scanner clips; the low dose is clipped there
            too. None for no clipping.
        pixel_rays: Whether rays are 0.45 columns apart instead of 0.4 mm. `photons` and
            `electronic_noise` are still those of 0.4 mm; the tables are shared by all
            pixel spacings, so scans of many spacings are simulated faster.

    Example:
        >>> simulator = DoseSimulator((64, 64), (5.0, 5.0), photons=1e5)
        >>> simulator.low_dose(np.zeros((64, 64)), 0.25, seed=1).shape
        (64, 64)
    """

    def __init__(
        self,
        shape: tuple[int, int],
        spacing_mm: tuple[float, float],
        *,
        kernel: str | Kernel = "b30",
        photons: float = 4e5,
        noise_free: bool = False,
        bowtie: bool = True,
        tube_current_modulation: float = physics.TUBE_CURRENT_MODULATION,
        electronic_noise: float = physics.electronic_noise(3.0),
        views: int = VIEWS,
        floor_hu: float | None = None,
        pixel_rays: bool = False,
    ):
        self.kernel = get_kernel(kernel)
        self.photons = _positive(photons, "photons")
        self.noise_free = bool(noise_free)
        self.electronic_noise = _not_negative(electronic_noise, "electronic noise")
        self.tube_current_modulation = _not_negative(
            tube_current_modulation, "tube-current modulation"
        )
        self.floor_hu = floor_hu
        make_beam = pixel_beam if pixel_rays else parallel_beam
        self.beam = make_beam(
            tuple(map(int, shape)),
            tuple(map(float, spacing_mm)),
            views=int(_positive(views, "number of views")),
        )
        self.bowtie = bool(bowtie)
        filtered = physics.bowtie(self.beam.position_mm)
        profile = filtered if bowtie else np.ones(self.beam.bins)
        per_ray = VIEWS / views * self.beam.bin_mm / BIN_MM
        self._profile = (profile * per_ray).astype(np.float32)[:, None]

    def tuned(self, **changes) -> DoseSimulator:
        """Returns a copy for the same grid with other settings.

        Args:
            **changes: `kernel`, `photons`, `noise_free`, `electronic_noise`,
                `tube_current_modulation` or `floor_hu`.
        """
        other = copy.copy(self)
        for name, value in changes.items():
            if name == "kernel":
                value = get_kernel(value)
            elif name == "photons":
                value = _positive(value, name)
            elif name in ("electronic_noise", "tube_current_modulation"):
                value = _not_negative(value, name.replace("_", " "))
            setattr(other, name, value)
        return other

    @property
    def ray_electronic_noise(self) -> float:
        """SD of the electronic noise of a ray of the beam, in photons."""
        return self.electronic_noise * math.sqrt(self.beam.bin_mm / BIN_MM)

    def counts(
        self, hu: np.ndarray, *, padding: np.ndarray | None = None, current: float = 1.0
    ) -> np.ndarray:
        """Returns the expected counts of every ray at full dose.

        Args:
            hu: (rows, columns), HU.
            padding: bool (rows, columns), True outside the reconstruction.
            current: Tube current of this slice relative to that of `photons`
                (longitudinal modulation).

        Returns:
            float32 (bins, views).
        """
        integrals = self.beam.project(physics.attenuation(hu, padding))
        incident = self._profile * np.float32(self.photons * current)
        if self.tube_current_modulation:
            strength = self.tube_current_modulation
            incident = incident * physics.modulation(integrals, strength)
        np.negative(integrals, out=integrals)
        return (incident * np.exp(integrals)).astype(np.float32, copy=False)

    def low_doses(
        self,
        hu: np.ndarray,
        doses: Sequence[float],
        *,
        seed: int,
        slice_index: int = 0,
        padding: np.ndarray | None = None,
        current: float = 1.0,
        counts: np.ndarray | None = None,
        layers: Layers = (),
    ) -> list[np.ndarray]:
        """Returns the slice at several doses, each with independent noise.

        Args:
            hu: (rows, columns), HU.
            doses: Fractions of the full dose.
            seed: Determines the noise, together with `slice_index` and the dose.
            slice_index: Index of the slice in its series.
            padding: bool (rows, columns), True outside the reconstruction, where the
                values are returned unchanged.
            current: Tube current of this slice relative to that of `photons`.
            counts: Result of `counts` for this slice, if known.
            layers: What the slice shares with its neighbours, see `shared_layers`;
                empty for independent noise.

        Returns:
            float32 (rows, columns) each, HU, not rounded, clipped only at `floor_hu`.

        Raises:
            CtKerasError: CTK-E000, if a dose is not above 0 and at most 1; CTK-E041, if
                the slice does not fit the grid; CTK-E044, if it is not finite.
        """
        source = self._check(hu)
        sinograms = self.noise_sinograms(
            source,
            doses,
            seed=seed,
            slice_index=slice_index,
            padding=padding,
            current=current,
            counts=counts,
            layers=layers,
        )
        images = self.beam.reconstruct_noise(sinograms, self.kernel)
        return [self._add(source, noise * _HU_MM, padding) for noise in images]

    def noise_sinograms(
        self,
        hu: np.ndarray,
        doses: Sequence[float],
        *,
        seed: int,
        slice_index: int = 0,
        padding: np.ndarray | None = None,
        current: float = 1.0,
        counts: np.ndarray | None = None,
        layers: Layers = (),
    ) -> list[np.ndarray]:
        """Returns the noise that each dose adds to the line integrals; see `low_doses`.

        Returns:
            float32 (bins, views) each, dimensionless.
        """
        doses = [check_dose(dose) for dose in doses]
        if counts is None:
            counts = self.counts(self._check(hu), padding=padding, current=current)
        return [self._draw(counts, dose, seed, slice_index, layers) for dose in doses]

    def low_dose(
        self,
        hu: np.ndarray,
        dose: float,
        *,
        seed: int,
        slice_index: int = 0,
        padding: np.ndarray | None = None,
        current: float = 1.0,
    ) -> np.ndarray:
        """Returns the slice at one dose; see `low_doses`."""
        options = {"seed": seed, "slice_index": slice_index, "current": current}
        return self.low_doses(hu, [dose], padding=padding, **options)[0]

    def noise_sd(
        self,
        hu: np.ndarray,
        *,
        dose: float = 1.0,
        padding: np.ndarray | None = None,
        current: float = 1.0,
    ) -> np.ndarray:
        """Returns the SD of the total noise at a dose in every pixel.

        Args:
            hu: (rows, columns), HU.
            dose: Fraction of the full dose.
            padding: bool (rows, columns), True outside the reconstruction.
            current: Tube current of this slice relative to that of `photons`.

        Returns:
            float32 (rows, columns), HU.
        """
        counts = self.counts(self._check(hu), padding=padding, current=current)
        parts = physics.added_variance(
            counts, check_dose(dose), self.ray_electronic_noise, noise_free=True
        )
        variance = self.beam.noise_variance(parts[0] + parts[1], self.kernel)
        return np.sqrt(variance) * _HU_MM

    def noise_share(self, counts: np.ndarray, dose: float) -> float:
        """Returns the variance of the slice's own noise over that of the low dose.

        Without electronic noise this is the dose; see `ct_keras.losses.noise_free`.

        Args:
            counts: Result of `counts` for this slice.
            dose: Fraction of the full dose.

        Returns:
            From 0, for a slice without noise, to 1.
        """
        if self.noise_free:
            return 0.0
        held, total = (
            np.sum(
                physics.added_variance(
                    counts, level, self.ray_electronic_noise, noise_free=True
                ),
                dtype=np.float64,
            )
            for level in (1.0, check_dose(dose))
        )
        return float(held / total)

    def _draw(self, counts, dose, seed, slice_index, layers: Layers) -> np.ndarray:
        key = [abs(int(seed)), int(seed < 0), int(slice_index), round(dose * 1e9)]
        parts = physics.added_variance(
            counts, dose, self.ray_electronic_noise, noise_free=self.noise_free
        )
        if not layers:
            return physics.draw_noise(*parts, np.random.default_rng(key))
        normals = np.zeros(counts.shape, np.float32)
        for number, share in layers:
            # The last number tells layers from slices.
            generator = np.random.default_rng([*key[:2], number, key[3], 1])
            drawn = generator.standard_normal(counts.shape, dtype=np.float32)
            normals += np.float32(math.sqrt(share)) * drawn
        return physics.shared_noise(*parts, normals)

    def _add(self, source, noise, padding) -> np.ndarray:
        result = source + noise
        if self.floor_hu is not None:
            # A pixel that was below the floor may stay there.
            np.maximum(result, np.minimum(source, self.floor_hu), out=result)
        if padding is not None:
            result[padding] = source[padding]
        return result

    def _check(self, hu) -> np.ndarray:
        source = np.asarray(hu, np.float32)
        if source.shape != self.beam.shape:
            raise CtKerasError(
                "CTK-E041",
                "the slice does not fit the simulator's grid",
                received=source.shape,
                expected=self.beam.shape,
            )
        if not np.isfinite(source).all():
            raise CtKerasError("CTK-E044", "the slice contains non-finite values")
        return source


def check_dose(dose: float) -> float:
    """Returns a dose fraction as a float.

    Raises:
        CtKerasError: CTK-E000, if it is not above 0 and at most 1.
    """
    try:
        value = float(dose)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 < value <= 1:
        raise CtKerasError(
            "CTK-E000",
            "invalid dose",
            received=dose,
            expected="a fraction of the full dose, above 0 and at most 1",
        )
    return value


def check_doses(doses: Iterable[float]) -> tuple[float, ...]:
    """Returns several dose fractions as floats.

    Raises:
        CtKerasError: CTK-E000, as `check_dose`, or if there is none or one comes twice:
            its slices would count twice.
    """
    checked = tuple(map(check_dose, doses))
    if not checked or len({round(dose, 9) for dose in checked}) < len(checked):
        raise CtKerasError(
            "CTK-E000",
            "doses to simulate must differ, and there must be one",
            received=", ".join(f"{dose:g}" for dose in checked) or None,
            expected="such as 0.1,0.25",
        )
    return checked


def _positive(value, name: str) -> float:
    if not (math.isfinite(value) and value > 0):
        raise CtKerasError(
            "CTK-E000", f"invalid {name}", received=value, expected="above 0"
        )
    return float(value)


def _not_negative(value, name: str) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise CtKerasError(
            "CTK-E000", f"invalid {name}", received=value, expected="0 or above"
        )
    return float(value)
