"""Correlated random texture of tissues, generated slice by slice.

This is the heterogeneity of the tissue itself and not scan noise: it stays the same
when the patient is scanned again.
"""

from __future__ import annotations

import cv2
import numpy as np

#: Group -> HU standard deviation of the fine (1 mm), middle (3 mm) and coarse (12 mm)
#: parts. Chosen by visual comparison with abdominal and thoracic CT, without a source.
GROUPS = {
    "soft": (1.2, 1.5, 1.5),
    "muscle": (3.0, 5.0, 3.5),
    "fat": (2.5, 3.5, 3.5),
    "lung": (18.0, 14.0, 12.0),
    "bone": (55.0, 30.0, 20.0),
    "stool": (25.0, 45.0, 25.0),
}
_SCALES_MM = (1.0, 3.0, 12.0)
_DEPTH_MM = (2.0, 5.0, 15.0)  # over which the texture changes between slices
_STREAK_START = 0.9  # standard deviations above which muscle shows fat streaks


class Textures:
    """Texture of all groups for consecutive slices of one phantom.

    Args:
        shape: Rows and columns.
        spacing_mm: Slice, row and column spacing.
        rng: Random generator.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        spacing_mm: tuple[float, float, float],
        rng: np.random.Generator,
    ):
        self.shape = shape
        self.spacing_mm = spacing_mm
        self.rng = rng
        self._fields: list[np.ndarray] = []

    def next_slice(self) -> dict[str, np.ndarray]:
        """Returns group -> HU deviation, float32 (rows, columns), of the next slice."""
        fresh = [self._field(scale) for scale in _SCALES_MM]
        if self._fields:
            kept = [np.exp(-self.spacing_mm[0] / depth) for depth in _DEPTH_MM]
            fresh = [
                np.float32(k) * old + np.float32(np.sqrt(1 - k * k)) * new
                for k, old, new in zip(kept, self._fields, fresh, strict=True)
            ]
        self._fields = fresh
        groups = {
            name: sum(np.float32(w) * f for w, f in zip(weights, fresh, strict=True))
            for name, weights in GROUPS.items()
        }
        streaks = np.maximum(0.7 * fresh[1] + 0.7 * fresh[0] - _STREAK_START, 0)
        groups["muscle"] -= 28 * streaks
        groups["fat"] += 14 * streaks
        return groups

    def _field(self, scale_mm: float) -> np.ndarray:
        """White noise blurred by a Gaussian, with unit standard deviation."""
        sigmas = [max(scale_mm / s, 0.3) for s in self.spacing_mm[1:]]
        shrink = max(1, int(min(sigmas) // 2))
        rows, columns = (-(-n // shrink) + 2 for n in self.shape)
        noise = self.rng.standard_normal((rows, columns), np.float32)
        down, across = (_kernel(sigma / shrink) for sigma in sigmas)
        noise = cv2.sepFilter2D(noise, -1, across, down, borderType=cv2.BORDER_REFLECT)
        noise /= np.float32(np.linalg.norm(down) * np.linalg.norm(across))
        if shrink > 1:
            size = (columns * shrink, rows * shrink)
            noise = cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)
        return np.ascontiguousarray(noise[: self.shape[0], : self.shape[1]])


def _kernel(sigma: float) -> np.ndarray:
    return cv2.getGaussianKernel(2 * int(np.ceil(3 * sigma)) + 1, sigma, cv2.CV_32F)
