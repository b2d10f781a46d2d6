"""Reads one source image of any file type; stores a pair of images as int16."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ct_keras.dicom import SourceSlice
from ct_keras.dicom.pixels import read_pixels
from ct_keras.errors import CtKerasError
from ct_keras.hu import FLOOR_HU, NO_MEASUREMENT_HU, to_stored

_INT16 = np.iinfo(np.int16)
#: Minimum rows or columns of a picture: fewer suggest a wrong order of the axes.
_SMALLEST = 8


@dataclass(frozen=True)
class Picture:
    """A 16-bit or float picture: HU = value * slope + intercept.

    Attributes:
        path: The file.
        number: 1-based number of the file, as shown in messages.
        image_key: Identifies the image in hashes.
        slope: HU per unit.
        intercept: HU of the value 0.
        page: Page number in a multi-page file.
    """

    path: Path
    number: int
    image_key: str
    slope: float
    intercept: float
    page: int = 0


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


def read_image(source: SourceSlice | Picture) -> Image:
    """Reads an image.

    Raises:
        CtKerasError: CTK-E003 or E005, if it cannot be read; CTK-E047, if a picture has
            8 bits or colours; CTK-E041, if it has too few rows or columns.
    """
    if isinstance(source, Picture):
        return _read_picture(source)
    pixels = read_pixels(source)
    return Image(pixels.hu, pixels.padding, source.slope, source.intercept)


def count_pages(path: Path, number: int) -> int:
    """Returns the number of pictures in a file.

    Raises:
        CtKerasError: CTK-E005, if it cannot be read.
    """
    pages = cv2.imcount(str(path), cv2.IMREAD_UNCHANGED)
    if pages < 1:
        raise CtKerasError("CTK-E005", f"cannot read file #{number}")
    return pages


def _read_picture(source: Picture) -> Image:
    flags = cv2.IMREAD_UNCHANGED
    _, pages = cv2.imreadmulti(str(source.path), source.page, 1, flags=flags)
    if not pages:
        raise CtKerasError("CTK-E005", f"cannot read file #{source.number}")
    values = pages[0]
    if values.ndim != 2 or values.dtype not in (np.uint16, np.int16, np.float32):
        raise CtKerasError(
            "CTK-E047",
            f"file #{source.number} is not a single-channel 16-bit picture",
            received=f"{values.dtype}, {values[0, 0].size} channels",
            expected="16-bit PNG, 16-bit or float TIFF",
        )
    if min(values.shape) < _SMALLEST:
        raise CtKerasError(
            "CTK-E041",
            f"file #{source.number} is too small for a slice",
            received="{} x {} pixels".format(*values.shape),
            expected="rows and columns of one slice in each page",
        )
    hu = (values.astype(np.float64) * source.slope + source.intercept).astype("f4")
    whole = source.slope if values.dtype != np.float32 else 0.0
    return Image(hu, hu < NO_MEASUREMENT_HU, whole, source.intercept)


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
