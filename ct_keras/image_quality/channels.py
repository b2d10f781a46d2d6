"""Channels of a channelised observer.

Every function returns float64 (rows * columns, channels): the inner product of a
flattened region with a column is the response of that channel.

Reference:
    Gallas and Barrett, J Opt Soc Am A 20(9), 1725-1738, 2003,
    doi:10.1364/JOSAA.20.001725 (Laguerre-Gauss); Abbey and Barrett, J Opt Soc Am A
    18(3), 473-488, 2001, doi:10.1364/JOSAA.18.000473 (difference of Gaussians); the
    parameters of both and of the Gabor channels are those of LCD-CT (FDA, 2023,
    doi:10.5281/zenodo.7996580).
"""

from __future__ import annotations

import numpy as np
from scipy.special import eval_laguerre

from ct_keras.errors import CtKerasError

#: First width in cycles per pixel, growth, ratio of the two Gaussians, channels.
DOG = {"dense": (0.005, 1.4, 1.67, 10), "sparse": (0.015, 2.0, 2.0, 3)}
CHANNELS = ("laguerre-gauss", "dog-dense", "dog-sparse", "gabor")
#: Width of the Laguerre-Gauss channels relative to the diameter of the disc.
WIDTH_PER_DIAMETER = 2 / 3
_FIRST_BAND = 1 / 8


def laguerre_gauss(
    size: int,
    width: float,
    *,
    count: int = 5,
    center: tuple[float, float] | None = None,
) -> np.ndarray:
    """Returns Laguerre-Gauss channels, orthonormal and rotationally symmetric.

    ``u_j(r) = (sqrt 2 / h) exp(-pi r^2 / h^2) L_j(2 pi r^2 / h^2)``; they are an
    efficient set for round signals in isotropic noise.

    Args:
        size: Rows and columns of the region.
        width: h in pixels, about 2/3 of the diameter of a disc; for a Gaussian signal
            of width s, h = s sqrt(2 pi) makes the first channel the signal.
        count: Number of channels.
        center: (row, column) of the signal; None for the centre of the region.
    """
    if not width > 0 or count < 1:
        raise CtKerasError(
            "CTK-E000",
            "invalid Laguerre-Gauss channels",
            received=(width, count),
            expected="a positive width and at least one channel",
        )
    row, column = center or ((size - 1) / 2, (size - 1) / 2)
    places = np.arange(size)
    squared = (places[:, None] - row) ** 2 + (places - column) ** 2
    x = 2 * np.pi * squared.ravel() / width**2
    shapes = [eval_laguerre(order, x) * np.exp(-x / 2) for order in range(count)]
    return np.stack(shapes, axis=1) * (np.sqrt(2) / width)


def difference_of_gaussians(size: int, kind: str = "dense") -> np.ndarray:
    """Returns difference-of-Gaussians channels: octave-like bands, as in vision.

    Args:
        size: Rows and columns of the region.
        kind: "dense" (10 channels) or "sparse" (3).
    """
    first, growth, ratio, count = DOG[kind]
    frequency = np.fft.fftfreq(size)
    squared = frequency[:, None] ** 2 + frequency**2
    # The centre of the region is between pixels if their number is even.
    shift = np.exp(-1j * np.pi * frequency * (size - 1))
    phase = shift[:, None] * shift
    channels = []
    for index in range(count):
        width = first * growth**index
        ring = np.exp(-squared / (2 * (ratio * width) ** 2))
        ring -= np.exp(-squared / (2 * width**2))
        channels.append(np.fft.ifft2(ring * phase).real.ravel())
    return np.stack(channels, axis=1)


def gabor(size: int, *, bands: int = 4, angles: int = 4) -> np.ndarray:
    """Returns Gabor channels: octave bands below 1/8 cycle per pixel, oriented.

    Args:
        size: Rows and columns of the region.
        bands: Number of octaves.
        angles: Number of directions over 180 degrees.
    """
    places = np.arange(size) - (size - 1) / 2
    y, x = places[:, None], places
    channels = []
    for band in range(bands):
        high = _FIRST_BAND / 2**band
        middle, bandwidth = 0.75 * high, high / 2
        width = 4 * np.log(2) / (np.pi * bandwidth)
        envelope = np.exp(-4 * np.log(2) * (x**2 + y**2) / width**2)
        for step in range(angles):
            angle = np.pi * step / angles
            wave = np.cos(2 * np.pi * middle * (x * np.cos(angle) + y * np.sin(angle)))
            channels.append((envelope * wave).ravel())
    return np.stack(channels, axis=1)


def get_channels(name: str, size: int, *, diameter: float) -> np.ndarray:
    """Returns channels by name, for a disc in the centre of a region.

    Args:
        name: One of `CHANNELS`.
        size: Rows and columns of the region.
        diameter: Diameter of the disc in pixels; only Laguerre-Gauss channels use it.

    Raises:
        CtKerasError: CTK-E000, for an unknown name.
    """
    if name == "laguerre-gauss":
        return laguerre_gauss(size, WIDTH_PER_DIAMETER * diameter)
    if name == "gabor":
        return gabor(size)
    if name in CHANNELS:
        return difference_of_gaussians(size, name.removeprefix("dog-"))
    raise CtKerasError(
        "CTK-E000", "unknown channels", received=name, expected=", ".join(CHANNELS)
    )
