"""Reconstruction kernels: how sharp, and therefore how noisy, an image is.

A kernel is given by the modulation transfer function (MTF) of the whole system at three
frequencies, as data sheets state it. The detector blurs the line integrals before any
noise is added; filtered back-projection applies the ramp times MTF over detector blur
to the (noisy) sinogram. With an effective aperture of 0.64 mm the noise of D45 is 2.28
times that of B30 for white projection noise, which is the reported ratio; without an
aperture it would be 1.94.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ct_keras.errors import CtKerasError

#: Width of a detector element and the focal spot at the isocentre, in mm. Clinical
#: elements are 0.5 to 0.7 mm; this value gives the noise ratio 2.28.
APERTURE_MM = 0.64
_LEAST_BLUR = 0.2
_LEVELS = (0.5, 0.1, 0.02)


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel, given by the MTF of the system.

    ``-ln MTF`` is a power of the frequency below the 50 % point and bends smoothly
    through the 10 % and 2 % points above it.

    Attributes:
        name: Lower-case name.
        frequencies: Frequencies at which the MTF is 50, 10 and 2 %, in line pairs
            (cycles) per cm; None for the bare ramp (Ram-Lak) up to the detector's
            Nyquist frequency.
    """

    name: str
    frequencies: tuple[float, float, float] | None

    def mtf(self, frequency_mm: np.ndarray) -> np.ndarray:
        """Returns the MTF of the system at frequencies in cycles per mm."""
        frequency_mm = np.abs(np.asarray(frequency_mm, np.float64))
        if self.frequencies is None:
            return np.sinc(frequency_mm * APERTURE_MM)
        low, middle, high = np.log(-np.log(_LEVELS))
        half = self.frequencies[0] / 10
        to_middle, to_high = np.log(np.divide(self.frequencies[1:], 10 * half))
        first = (middle - low) / to_middle
        bend = ((high - middle) / (to_high - to_middle) - first) / to_high
        slope = first - bend * to_middle
        with np.errstate(divide="ignore"):
            place = np.log(frequency_mm / half)
        curve = low + slope * place
        above = np.maximum(place, 0)
        return np.exp(-np.exp(curve + bend * above**2))

    def window(self, frequency_mm: np.ndarray) -> np.ndarray:
        """Returns the factor on the ramp: MTF over detector blur.

        It is zero above 1.3 cycles per mm, where the detector's MTF is below 0.2.
        """
        blur = np.sinc(np.asarray(frequency_mm, np.float64) * APERTURE_MM)
        if self.frequencies is None:
            return np.ones_like(blur)
        seen = blur > _LEAST_BLUR
        return np.where(seen, self.mtf(frequency_mm) / np.where(seen, blur, 1), 0)


#: Kernels by name. ``b30`` and ``d45`` are those of the report; ``ramp`` is Ram-Lak.
KERNELS = {
    "b30": Kernel("b30", (3.6, 5.9, 7.3)),
    "d45": Kernel("d45", (5.6, 9.4, 11.4)),
    "ramp": Kernel("ramp", None),
}


def between(share: float) -> Kernel:
    """Interpolates between B30 (share 0) and D45 (share 1), or extrapolates."""
    pairs = zip(KERNELS["b30"].frequencies, KERNELS["d45"].frequencies, strict=True)
    frequencies = tuple(low ** (1 - share) * high**share for low, high in pairs)
    return Kernel(f"b30-d45:{share:g}", frequencies)


def get_kernel(kernel: str | Kernel) -> Kernel:
    """Returns a kernel by name.

    Raises:
        CtKerasError: CTK-E000 for an unknown kernel.
    """
    if isinstance(kernel, Kernel):
        return kernel
    if str(kernel).lower() in KERNELS:
        return KERNELS[str(kernel).lower()]
    raise CtKerasError(
        "CTK-E000",
        "unknown reconstruction kernel",
        received=kernel,
        expected=", ".join(["auto", *KERNELS]),
    )


#: GE and Philips names and their shares for `between`, by the noise of scans.
_SHARES = {
    "SOFT": 0.0,
    "STANDARD": 0.25,
    "DETAIL": 0.5,
    "CHEST": 0.5,
    "LUNG": 0.8,
    "BONE": 1.1,
    "BONEPLUS": 1.2,
    "EDGE": 1.4,
    "A": -0.1,
    "B": 0.1,
    "C": 0.25,
    "D": 0.4,
    "E": 1.0,
    "L": 1.0,
}
#: Numbers in Siemens names, and their shares: 10 to 60 by the noise of scans.
_NUMBERS = (10, 20, 30, 45, 50, 60, 80)
_NUMBER_SHARES = (-0.5, -0.25, 0.0, 0.45, 0.75, 1.2, 2.0)
#: Letters and a number at the end of the name, as in B30f or 59 .21.B50s.
_SIEMENS = re.compile(r"(?:^|[ .])([A-Z]{1,2})(\d\d)[A-Z]?(\\\d|\d)?$")
#: Canon's numbers are not ordered by sharpness; Siemens' AB50 is softer than B50.
_NOT_ORDERED = ("FC", "AB")


def named_share(convolution_kernel: str | None) -> float | None:
    """Returns the sharpness that a scanner's name tells (DICOM ConvolutionKernel).

    Siemens names contain a number that grows with sharpness: 30 is B30, and D45 is D45;
    the others are interpolated. GE and Philips names come from a short table.

    Returns:
        The share for `between`; None for an unknown name, such as all of Canon.
    """
    name = (convolution_kernel or "").strip().upper()
    if name.startswith("D45"):
        return 1.0
    siemens = _SIEMENS.search(name)
    if siemens and siemens[1] not in _NOT_ORDERED:
        return float(np.interp(int(siemens[2]), _NUMBERS, _NUMBER_SHARES))
    return _SHARES.get(name)


def kernel_by_name(convolution_kernel: str | None) -> Kernel:
    """Returns the kernel of a scanner's name, B30 if unknown; see `named_share`."""
    share = named_share(convolution_kernel) or 0.0
    named = {0.0: KERNELS["b30"], 1.0: KERNELS["d45"]}
    return named.get(share) or between(share)
