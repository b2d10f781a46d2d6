"""The tissues of a patient in Hounsfield units: the one home of their limits.

The limits are a choice of this project, not a standard. Whoever needs another range of
soft tissue finds it here too, with its reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ct_keras.hu import PADDING_HU

#: The body: the largest connected region above this, opened, with its holes filled.
BODY_HU = -500.0
#: A tissue is eroded by this many pixels in every direction, diagonals included, so
#: that edges do not count.
EROSION_PIXELS = 2


@dataclass(frozen=True)
class Tissue:
    """A class of tissue: `low` <= HU <= `high`."""

    name: str
    low: float
    high: float

    def holds(self, hu: np.ndarray) -> np.ndarray:
        """Returns bool of the shape of `hu`: where it is this tissue."""
        return (hu >= self.low) & (hu <= self.high)


TISSUES = (
    Tissue("air", PADDING_HU, -900),
    Tissue("lung", -900, -500),
    Tissue("fat", -150, -30),
    Tissue("soft", -30, 120),
    Tissue("bone", 200, math.inf),
)
FAT, SOFT = TISSUES[2], TISSUES[3]

#: Means of windows in which noise is measured: narrower than soft tissue, as a window
#: half in fat has a mean below this, one with a vessel full of contrast agent above.
NOISE_WINDOW_HU = (0.0, 100.0)
#: Soft tissue of a smoothed slice in which a series is calibrated: with organs that
#: contrast agent enhances, as much of every slice as there is.
ENHANCED_SOFT_HU = (SOFT.low, 160.0)
#: Fat, soft tissue and their borders under heavy noise: what every body part holds.
FAT_TO_SOFT_HU = (FAT.low, 150.0)


def body_mask(hu: np.ndarray) -> np.ndarray:
    """Finds the patient: no air around, no table, lungs and bowel gas included.

    Args:
        hu: (rows, columns), HU.

    Returns:
        bool (rows, columns); all False where nothing is denser than -500 HU.
    """
    dense = (np.asarray(hu) > BODY_HU).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    opened = cv2.morphologyEx(dense, cv2.MORPH_OPEN, disc)
    _, regions, statistics, _ = cv2.connectedComponentsWithStats(opened)
    if len(statistics) < 2:
        return np.zeros(dense.shape, bool)
    largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    around = np.pad((regions != largest).astype(np.uint8), 1, constant_values=1)
    cv2.floodFill(around, None, (0, 0), 2)
    return around[1:-1, 1:-1] != 2


def tissue_masks(reference_hu: np.ndarray) -> dict[str, np.ndarray]:
    """Cuts a reference into tissues, each eroded by two pixels.

    Args:
        reference_hu: (rows, columns), HU.

    Returns:
        Name of the tissue -> bool (rows, columns).
    """
    hu = np.asarray(reference_hu)
    square = np.ones((2 * EROSION_PIXELS + 1,) * 2, np.uint8)
    masks = {}
    for tissue in TISSUES:
        inside = tissue.holds(hu).astype(np.uint8)
        masks[tissue.name] = cv2.erode(inside, square) > 0
    return masks
