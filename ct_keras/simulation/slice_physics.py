"""The noise physics of one slice as plain values, to be stored and simulated later."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ct_keras.settings import Settings
from ct_keras.simulation.dose import DoseSimulator
from ct_keras.simulation.kernels import Kernel, between

#: Of a varied scanner: sharpness of the kernel between B30 and D45, strength of the
#: tube-current modulation, largest factor on the photons.
_SHARES, _MODULATIONS, _EXPOSURE = (-0.35, 1.0), (0.0, 0.7), 3.0


@dataclass(frozen=True)
class SlicePhysics(Settings):
    """What `DoseSimulator` needs to know about a slice.

    Attributes:
        photons: Incident photons per ray at the dose of the slice.
        kernel: The three frequencies of the kernel; None for the bare ramp. See
            `ct_keras.simulation.Kernel`.
        noise_free: Whether the slice has no noise of its own.
        electronic_noise: SD in photons.
        tube_current_modulation: Strength of the angular modulation.
        bowtie: Whether a bowtie filter attenuates the outer rays.
        floor_hu: HU value at which the scan is clipped; None for no clipping.

    Raises:
        CtKerasError: CTK-E000 for a value of another type.
    """

    photons: float
    kernel: tuple[float, float, float] | None
    noise_free: bool
    electronic_noise: float
    tube_current_modulation: float
    bowtie: bool = True
    floor_hu: float | None = None

    @classmethod
    def of(cls, simulator: DoseSimulator, current: float = 1.0) -> SlicePhysics:
        """Returns the physics of a slice whose series has this simulator.

        Args:
            simulator: As `Calibration.simulator` returns it.
            current: Tube current of the slice relative to that of the simulator.
        """
        return cls(
            photons=float(simulator.photons * current),
            kernel=simulator.kernel.frequencies,
            noise_free=simulator.noise_free,
            electronic_noise=simulator.electronic_noise,
            tube_current_modulation=simulator.tube_current_modulation,
            bowtie=simulator.bowtie,
            floor_hu=simulator.floor_hu,
        )

    def varied(self, generator: np.random.Generator) -> SlicePhysics:
        """Returns another scanner: kernel, exposure and modulation are drawn.

        Only a slice without noise can be seen by another scanner; the noise of any
        other slice already has the texture of its own.
        """
        share = round(float(generator.uniform(*_SHARES)), 2)
        return replace(
            self,
            photons=self.photons * _EXPOSURE ** generator.uniform(-1, 1),
            kernel=between(share).frequencies,
            tube_current_modulation=float(generator.uniform(*_MODULATIONS)),
        )

    def simulator(
        self, shape: tuple[int, int], spacing_mm: tuple[float, float]
    ) -> DoseSimulator:
        """Returns the simulator for the slice, with tables shared between scans."""
        return DoseSimulator(
            shape,
            spacing_mm,
            kernel=Kernel("stored", self.kernel),
            photons=self.photons,
            noise_free=self.noise_free,
            bowtie=self.bowtie,
            tube_current_modulation=self.tube_current_modulation,
            electronic_noise=self.electronic_noise,
            floor_hu=self.floor_hu,
            pixel_rays=True,
        )
