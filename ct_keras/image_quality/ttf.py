"""Task transfer function: sharpness of the edge of a disc of given contrast.

A nonlinear method has no single MTF: its sharpness depends on contrast and noise. The
TTF is measured on a disc insert of the contrast of interest, at the dose of interest.

Reference:
    Richard et al., Med Phys 39(7), 4115-4122, 2012, doi:10.1118/1.4725171.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.signal.windows import tukey

from ct_keras.errors import CtKerasError
from ct_keras.image_quality.cnr import disc_mask, radius_map

#: Bins of the edge-spread function per pixel.
_BINS = 10
#: The edge profile extends this share of the radius inwards and outwards.
_REACH = 0.8
#: Share of the profile that is tapered: its ends, outside the line-spread function.
_TAPER = 0.5
_LENGTH = 4096
#: With a lower contrast-to-noise ratio of the averaged image, the TTF is unreliable.
LEAST_CNR = 15.0


@dataclass(frozen=True, eq=False)
class TaskTransfer:
    """The TTF of one insert.

    Attributes:
        frequency_mm: Cycles per mm, from 0 to the Nyquist frequency.
        transfer: The TTF at these frequencies, 1 at 0.
        contrast_hu: Measured contrast of the insert.
        cnr: Contrast over the noise of the image it was measured in.
    """

    frequency_mm: np.ndarray
    transfer: np.ndarray
    contrast_hu: float
    cnr: float

    @property
    def f50(self) -> float:
        """Frequency where the TTF falls to 50 %, in cycles per mm; NaN if nowhere."""
        return self.crossing(0.5)

    @property
    def f10(self) -> float:
        """Frequency where the TTF falls to 10 %, in cycles per mm; NaN if nowhere."""
        return self.crossing(0.1)

    @property
    def reliable(self) -> bool:
        """Whether the contrast is high enough for the noise."""
        return self.cnr >= LEAST_CNR

    def crossing(self, level: float) -> float:
        """Returns the first frequency at which the TTF falls below a level."""
        below = np.flatnonzero(self.transfer < level)
        if below.size == 0 or below[0] == 0:
            return math.nan
        index = below[0]
        high, low = self.transfer[index - 1], self.transfer[index]
        share = (high - level) / (high - low)
        before, after = self.frequency_mm[index - 1], self.frequency_mm[index]
        return float(before + share * (after - before))

    def at(self, frequency_mm: np.ndarray) -> np.ndarray:
        """Returns the TTF at any frequencies; 0 above the Nyquist frequency."""
        return np.interp(frequency_mm, self.frequency_mm, self.transfer, right=0.0)


def task_transfer(
    image: np.ndarray,
    spacing_mm: float,
    *,
    radius_mm: float,
    center: tuple[float, float] | None = None,
) -> TaskTransfer:
    """Measures the TTF of a disc in an image, or in the mean of repeats.

    The edge-spread function is the pixel value against the distance from the centre, in
    bins of a tenth of a pixel; its derivative is tapered and Fourier transformed.

    Args:
        image: (rows, columns) HU; average repeats until `cnr` is above 15.
        spacing_mm: Pixel spacing, the same in both directions.
        radius_mm: Radius of the disc, with at least 0.8 radii of background around it.
        center: (row, column) of its centre in pixels; None to find a single disc on a
            uniform background.

    Raises:
        CtKerasError: CTK-E041, if the disc does not fit into the image.
    """
    image = np.asarray(image, np.float64)
    radius = radius_mm / spacing_mm
    if center is None:
        center = find_disc(image)
    reach = _REACH * radius
    room = min(*center, *(np.subtract(image.shape, 1) - center))
    if reach < 3 or room < radius + reach:
        raise CtKerasError(
            "CTK-E041",
            "no transfer function: the disc does not fit into the image",
            received=(center, radius),
            expected="a radius of 4 pixels or more, and 0.8 radii around it",
        )
    contrast, ratio = _contrast(image, center, radius)
    spread = _edge_spread(image, center, radius, reach)
    return _transfer(np.diff(spread), spacing_mm, contrast, ratio)


def find_disc(image: np.ndarray) -> tuple[float, float]:
    """Returns the (row, column) of the centroid of a disc on a uniform background.

    The background is the median along the border of the image. Only pixels beyond half
    of the contrast are used, so weaker noise has no effect.
    """
    image = np.asarray(image, np.float64)
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    above = image - np.median(border)
    peak = np.percentile(np.abs(above), 99)
    sign = 1.0 if above[np.abs(above) >= peak].mean() > 0 else -1.0
    weight = np.where(sign * above > peak / 2, sign * above, 0)
    total = weight.sum()
    if total == 0:
        raise CtKerasError("CTK-E041", "there is no disc in the image")
    rows, columns = np.indices(image.shape)
    return float((weight * rows).sum() / total), float((weight * columns).sum() / total)


def _contrast(image, center, radius) -> tuple[float, float]:
    distance = radius_map(image.shape, center)
    inside = image[disc_mask(image.shape, center, 0.6 * radius)]
    around = image[(distance > 1.4 * radius) & (distance < (1 + _REACH) * radius)]
    contrast = float(inside.mean() - around.mean())
    noise = float(around.std(ddof=1))
    return contrast, abs(contrast) / noise if noise > 0 else math.inf


def _edge_spread(image, center, radius, reach) -> np.ndarray:
    """Returns the edge-spread function at the centre of every bin.

    Bins have few, unevenly distributed pixels, so their mean value is assigned to their
    mean distance. The function is interpolated between these.
    """
    place = (radius_map(image.shape, center) - radius) * _BINS
    half = round(reach * _BINS)
    bins = np.floor(place).astype(int) + half
    inside = (bins >= 0) & (bins < 2 * half)
    filled = np.bincount(bins[inside])
    known = filled > 0
    places, values = (
        np.bincount(bins[inside], each[inside])[known] / filled[known]
        for each in (place, image)
    )
    return np.interp(np.arange(-half, half) + 0.5, places, values)


def _transfer(line_spread, spacing_mm, contrast, ratio) -> TaskTransfer:
    step = spacing_mm / _BINS
    tapered = line_spread * tukey(line_spread.size, _TAPER)
    length = max(_LENGTH, 2 ** math.ceil(math.log2(4 * tapered.size)))
    spectrum = np.abs(np.fft.rfft(tapered, length))
    frequency = np.fft.rfftfreq(length, step)
    seen = frequency <= 0.5 / spacing_mm
    # Averaging in bins and differencing both blur by one bin.
    blur = np.sinc(frequency[seen] * step) ** 2
    # If the disc is lost, the contrast to divide by is 0.
    transfer = spectrum[seen] / (spectrum[0] or math.nan) / blur
    return TaskTransfer(frequency[seen], transfer, contrast, ratio)
