"""Reads one source image of any file type; stores a pair of images as int16."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ct_keras.containers import VolumeSlice
from ct_keras.dicom import SourceSlice
from ct_keras.dicom.pixels import read_pixels, stored_to_hu
from ct_keras.hu import FLOOR_HU, to_stored

#: What rounding to float32 may change.
_EXACT_HU = 1e-3
_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class Image:
    """The pixels of an image.

    Attributes:
        hu: float32 (rows, columns).
        padding: bool (rows, columns), True where there is no measurement.
        slope: HU per stored unit; 0 if values are not whole numbers.
        intercept: HU of the stored value 0.
    """

    hu: np.ndarray
    padding: np.ndarray
    slope: float
    intercept: float


def read_image(source: SourceSlice | VolumeSlice) -> Image:
    """Reads an image of a DICOM series, or a slice of another file.

    Raises:
        CtKerasError: CTK-E003 or E005, if it cannot be read; errors of the reader.
    """
    pixels = source.read() if isinstance(source, VolumeSlice) else read_pixels(source)
    return Image(pixels.hu, pixels.padding, source.slope, source.intercept)


def quantize(
    full: Image, low_hu: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float, float, bool]:
    """Stores a pair as int16 with one slope and intercept.

    The stored values of the normal dose are kept. Large unsigned values are shifted,
    and the intercept compensates for it, so HU stay exact. Only a pair that spans more
    than 65 535 steps is stored with coarser steps.

    Args:
        full: The normal-dose image.
        low_hu: float32 (rows, columns), HU.

    Returns:
        low and full, int16 (rows, columns), slope, intercept, and whether the full
        image is exact.
    """
    if full.slope:
        images = [to_stored(hu, full.slope, full.intercept) for hu in (low_hu, full.hu)]
        low_end = min(image.min() for image in images)
        high_end = max(image.max() for image in images)
        if high_end - low_end <= _INT16.max - _INT16.min:
            shift = 0.0
            if low_end < _INT16.min or high_end > _INT16.max:
                shift = low_end - _INT16.min
            stored = [(image - shift).astype(np.int16) for image in images]
            return *stored, full.slope, full.intercept + shift * full.slope, True
    return *_coarse(low_hu, full.hu), False


def is_exact(stored: np.ndarray, slope: float, intercept: float, hu) -> bool:
    """Whether stored values, int16 of any shape, give these HU again."""
    again = stored_to_hu(stored, slope, intercept)
    return bool(np.allclose(again, hu, rtol=1e-6, atol=_EXACT_HU))


def _coarse(low_hu, full_hu) -> tuple[np.ndarray, np.ndarray, float, float]:
    bottom = float(min(low_hu.min(), full_hu.min()))
    top = float(max(low_hu.max(), full_hu.max()))
    slope = max((top - bottom) / (_INT16.max - _INT16.min), 1e-6)
    intercept = bottom - _INT16.min * slope
    stored = [
        np.clip(to_stored(hu, slope, intercept), _INT16.min, _INT16.max)
        for hu in (low_hu, full_hu)
    ]
    return *(image.astype(np.int16) for image in stored), slope, intercept


def resample(image: Image, factors: tuple[float, float]) -> Image:
    """Resamples an image in its plane; padding becomes -1024 HU.

    Args:
        image: Any size.
        factors: Scale factors along rows and columns (new pixels per old pixel).
    """
    rows, columns = (
        max(1, round(size * factor))
        for size, factor in zip(image.hu.shape, factors, strict=True)
    )
    method = cv2.INTER_AREA if min(factors) < 1 else cv2.INTER_CUBIC
    floored = np.maximum(image.hu, np.float32(FLOOR_HU))
    hu = np.maximum(cv2.resize(floored, (columns, rows), interpolation=method), -1024)
    return Image(hu, hu <= FLOOR_HU, image.slope, image.intercept)
