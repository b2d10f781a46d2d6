"""The Hounsfield scale: network units, display windows and rounding.

Everything outside the networks uses Hounsfield units (HU). Networks and their training
use network units ``u = (HU + 1024) / 4096``: water is 0.25, air 0.00586, 3072 HU is 1,
and one HU is 1/4096. These constants are defined in this module only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

OFFSET_HU = 1024.0
SCALE_HU = 4096.0
#: Lowest input of a network: lower values are raised to it, among them noise in air.
FLOOR_HU = -OFFSET_HU
#: Highest value of the scale; some networks cannot return more.
CEILING_HU = SCALE_HU - OFFSET_HU
#: No reconstruction yields a lower value. Scanners write such values outside the
#: reconstruction circle; they are restored bit for bit after denoising.
NO_MEASUREMENT_HU = -1500.0
#: No tissue or gas has a lower value: untagged pixels below it are padding if a corner
#: of the image has the same value.
PADDING_HU = -1100.0
AIR_HU = -1000.0
WATER_HU = 0.0


@dataclass(frozen=True)
class Window:
    """A display window in HU: everything at or below `low` is black.

    Example:
        >>> ABDOMEN.low, ABDOMEN.high
        (-160.0, 240.0)
    """

    name: str
    center: float
    width: float

    @property
    def low(self) -> float:
        """The lower end in HU."""
        return self.center - self.width / 2

    @property
    def high(self) -> float:
        """The upper end in HU."""
        return self.center + self.width / 2

    def __str__(self) -> str:
        return f"{self.name} W{self.width:g} L{self.center:g}"


ABDOMEN = Window("abdomen", 40, 400)
LUNG = Window("lung", -600, 1500)
BRAIN = Window("brain", 40, 80)
BONE = Window("bone", 450, 1500)
WINDOWS = {window.name: window for window in (ABDOMEN, LUNG, BRAIN, BONE)}


def to_network(hu: np.ndarray) -> np.ndarray:
    """Converts HU to network units; values below -1024 HU become 0.

    Args:
        hu: Any shape, HU.

    Returns:
        float32 of the same shape, network units, never negative.
    """
    floored = np.maximum(np.asarray(hu, np.float32), np.float32(FLOOR_HU))
    return floored * np.float32(1 / SCALE_HU) + np.float32(OFFSET_HU / SCALE_HU)


def to_hu(network_units: np.ndarray) -> np.ndarray:
    """Converts network units to HU (float32, the same shape)."""
    units = np.asarray(network_units, np.float32)
    return units * np.float32(SCALE_HU) - np.float32(OFFSET_HU)


def picture_rescale(bits: int) -> tuple[float, float]:
    """Returns slope and intercept of grey values of pictures, which are not CT.

    The grey value g of a picture is ``g / 2**bits`` in network units, so networks and
    filters treat it like CT without a scale of their own.

    Example:
        >>> picture_rescale(8)
        (16.0, -1024.0)
    """
    return SCALE_HU / 2**bits, -OFFSET_HU


def to_stored(hu: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Converts HU to stored pixel values, rounding half to even.

    Args:
        hu: Any shape, HU.
        slope: RescaleSlope of the slice.
        intercept: RescaleIntercept of the slice.

    Returns:
        float64 of the same shape, whole numbers, not clipped to a pixel type.
    """
    return np.rint((np.asarray(hu, np.float64) - intercept) / slope)


def to_display(hu: np.ndarray, window: Window = ABDOMEN) -> np.ndarray:
    """Maps HU to 8-bit grey values (uint8, the same shape) in a window."""
    grey = (np.asarray(hu, np.float32) - window.low) * (255.0 / window.width)
    return np.rint(np.clip(grey, 0, 255)).astype(np.uint8)
