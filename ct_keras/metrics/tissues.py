"""The limits of tissues in Hounsfield units, defined in this module only.

The limits are a choice of this project, not a standard. Narrower and wider ranges of
soft tissue for special purposes are also defined here, with their reasons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ct_keras.hu import PADDING_HU

#: The body: the largest connected region above this, after opening, with holes filled.
BODY_HU = -500.0
#: A tissue is eroded by this many pixels in every direction, including diagonals, so
#: that edges are excluded.
EROSION_PIXELS = 2


@dataclass(frozen=True)
class Tissue:
    """A class of tissue: `low` <= HU <= `high`."""

    name: str
    low: float
    high: float

    def holds(self, hu: np.ndarray) -> np.ndarray:
        """Returns a bool mask of this tissue with the shape of `hu`."""
        return (hu >= self.low) & (hu <= self.high)


TISSUES = (
    Tissue("air", PADDING_HU, -900),
    Tissue("lung", -900, -500),
    Tissue("fat", -150, -30),
    Tissue("soft", -30, 120),
    Tissue("bone", 200, math.inf),
)
FAT, SOFT = TISSUES[2], TISSUES[3]

#: Range of the mean of windows in which noise is measured. It is narrower than soft
#: tissue: windows half in fat have a lower mean, windows with an enhanced vessel a
#: higher one.
NOISE_WINDOW_HU = (0.0, 100.0)
#: Soft tissue of a smoothed slice for calibration: includes enhanced organs, to use as
#: much of every slice as possible.
ENHANCED_SOFT_HU = (SOFT.low, 160.0)
#: Fat, soft tissue and their borders under heavy noise, present in every body part.
FAT_TO_SOFT_HU = (FAT.low, 150.0)


def body_mask(hu: np.ndarray) -> np.ndarray:
    """Segments the patient: without air and table, including lungs and bowel gas.

    Args:
        hu: (rows, columns), HU.

    Returns:
        bool (rows, columns); all False if nothing is denser than -500 HU.
    """
    dense = (np.asarray(hu) > BODY_HU).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    opened = cv2.morphologyEx(dense, cv2.MORPH_OPEN, disc)
    count, regions = cv2.connectedComponents(opened)
    if count < 2:
        return np.zeros(dense.shape, bool)
    # Faster than the statistics of OpenCV, of which only the areas are needed.
    largest = 1 + int(np.argmax(np.bincount(regions.ravel())[1:]))
    around = np.pad((regions != largest).astype(np.uint8), 1, constant_values=1)
    cv2.floodFill(around, None, (0, 0), 2)
    return around[1:-1, 1:-1] != 2


def tissue_masks(reference_hu: np.ndarray) -> dict[str, np.ndarray]:
    """Segments the tissues of a reference, each eroded by two pixels.

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
