"""Are the values of a stack Hounsfield units?

`check_hu` refuses impossible values: readers and conversion call it for every stack.
`unlike_hu` detects values that no patient shows: the guards call it before denoising.
`displacement_hu` measures a wrong intercept: whoever reads a slice may call it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from ct_keras.dicom.pixels import SlicePixels
from ct_keras.errors import CtKerasError, Finding
from ct_keras.hu import PADDING_HU
from ct_keras.inputs.options import DEFAULT_OPTIONS, ReadOptions
from ct_keras.metrics.tissues import FAT_TO_SOFT_HU

AIR_BELOW_HU = -500.0
LOWEST_HU = -3100.0
HIGHEST_HU = 32767.0
#: Metal may exceed this value, but never fills this share of a slice.
DENSE_HU, MOST_DENSE = 4000.0, 0.25
_SAMPLES = 3
AIR_PEAK_HU = (-1100.0, -900.0)
FEWEST_SOFT = 0.01
#: A larger share of local means below the density of air is not due to noise or metal.
MOST_BELOW_AIR = 1e-3
#: Only edges have values between lung and fat: at most this many times the soft tissue.
BETWEEN_HU = (-500.0, -200.0)
MOST_BETWEEN = 2.0
_BIN_HU = 10.0
#: Noise takes single air pixels below -1100 HU, but rarely the mean of 5 x 5 pixels.
_MEAN_PIXELS = 5
_AIR_HU = -1000.0
#: Where the smoothed values of a body lie: centre and SD in HU, share. Air, lung, fat,
#: what lies between fat and muscle, water, muscle and organs, bone and contrast agent;
#: measured on 616 slices of 57 public scans.
_PEAKS = (
    (-1000.0, 10.0, 0.45),
    (-850.0, 70.0, 0.15),
    (-103.0, 14.0, 0.16),
    (-20.0, 60.0, 0.06),
    (0.0, 10.0, 0.04),
    (50.0, 25.0, 0.16),
    (200.0, 150.0, 0.02),
)
#: Share in any bin of what belongs to no peak.
_ELSEWHERE = 1e-4
_FINE_BIN_HU = 5.0
_REACH_HU, _FARTHEST_HU = 2400.0, 1200.0
#: Those scans are displaced by -25 to 25 HU: beyond this, the intercept is wrong.
MOST_DISPLACED_HU = 30.0
#: Soft tissue, and the least share of it and of air: less than in any of those slices.
_SOFT_HU, _LEAST_SOFT, _LEAST_AIR = (-10.0, 110.0), 0.03, 0.03
#: The smoothing: about 1/64 of the width, which is fine enough for organs.
_SMOOTHINGS_PER_ROW, _LEAST_SMOOTHING = 64, 3
#: Smoothed values are alike: every second of every second row is enough.
_EVERY = 2


def check_hu(
    read: Callable[[int], SlicePixels],
    count: int,
    options: ReadOptions = DEFAULT_OPTIONS,
) -> list[Finding]:
    """Refuses a stack whose values cannot be Hounsfield units, unless it is accepted.

    Three slices are read. Only if they contain no air, further slices are read, from
    the middle outwards, until air is found. Padding may have any value.

    Args:
        read: Function of a slice number that returns an object with `hu` and `padding`,
            (rows, columns) each.
        count: How many slices there are.
        options: What is accepted: `force_hu`.

    Returns:
        The warning, if such a stack was accepted.

    Raises:
        CtKerasError: CTK-E044, if no pixel is below -500 HU, more than 1 % of a slice
            are outside [-3100, 32767] HU, or more than a quarter above 4000 HU.
    """
    error = _impossible(read, count)
    return [] if error is None else [options.settle("force_hu", error)]


def _impossible(read: Callable[[int], SlicePixels], count: int) -> CtKerasError | None:
    middle = (count - 1) / 2
    indices = sorted(range(count), key=lambda index: abs(index - middle))
    spread = {0, count // 2, count - 1}
    indices.sort(key=lambda index: index not in spread)
    low, high = np.inf, -np.inf
    for looked, index in enumerate(indices):
        if looked >= _SAMPLES and low < AIR_BELOW_HU:
            return None
        pixels = read(index)
        hu = pixels.hu[~pixels.padding]
        # In a field of view inside the body, padding is the only air.
        low = min(low, float(pixels.hu.min()))
        if not hu.size:
            continue
        high = max(high, float(hu.max()))
        outside = np.mean((hu < LOWEST_HU) | (hu > HIGHEST_HU))
        if outside > 0.01:
            return _implausible(low, high, f"{outside:.0%} beyond any scanner")
        dense = np.mean(hu > DENSE_HU)
        if dense > MOST_DENSE:
            return _implausible(low, high, f"{dense:.0%} denser than bone")
    if low >= AIR_BELOW_HU:
        return _implausible(low, high, "no air")
    return None


def _implausible(low: float, high: float, reason: str) -> CtKerasError:
    return CtKerasError(
        "CTK-E044",
        f"voxel values are not Hounsfield units (min {round(low)}, max {round(high)}, "
        f"{reason})",
        fix="check slope and intercept",
    )


def unlike_hu(slices: Sequence[SlicePixels]) -> CtKerasError | None:
    """Detects values that are possible but do not look like Hounsfield units.

    It checks the histogram peak of air (if there is air), the share of values below air
    and the share of soft tissue.

    Returns:
        The refusal (CTK-E044), None if the values look right.
    """
    values = np.concatenate([pixels.hu[~pixels.padding] for pixels in slices])
    low = values[(values > -1500) & (values < -500)]
    soft = _share(values, FAT_TO_SOFT_HU)
    below = _below_air(slices)
    peak = None
    if len(low):
        counts, edges = np.histogram(low, np.arange(-1500, -500 + _BIN_HU, _BIN_HU))
        peak = float(edges[np.argmax(counts)] + _BIN_HU / 2)
    air_is_right = peak is not None and AIR_PEAK_HU[0] <= peak <= AIR_PEAK_HU[1]
    # A field of view inside the body contains lung or little gas only.
    little_air = 0 < len(low) < 0.05 * len(values)
    tissue_is_right = soft >= max(
        FEWEST_SOFT, _share(values, BETWEEN_HU) / MOST_BETWEEN
    )
    air_is_right = air_is_right or little_air or _lung(low)
    if tissue_is_right and air_is_right and below <= MOST_BELOW_AIR:
        return None
    shown = "no air" if peak is None else f"most frequent value of air {peak:.0f}"
    return CtKerasError(
        "CTK-E044",
        "voxel values are not Hounsfield units",
        received=f"{shown}, {soft:.1%} of the voxels from -150 to 150, {below:.1%} "
        f"below {PADDING_HU:.0f}",
        expected="air near -1000 HU, nothing below it, and soft tissue",
        fix="check the rescale values of the series",
    )


def _share(values: np.ndarray, ends: tuple[float, float]) -> float:
    inside = np.count_nonzero((values > ends[0]) & (values < ends[1]))
    return inside / max(1, len(values))


def _below_air(slices: list[SlicePixels]) -> float:
    """The share of pixels whose local mean is below the density of any gas."""
    size = (_MEAN_PIXELS, _MEAN_PIXELS)
    below, total = 0, 0
    for pixels in slices:
        filled = np.where(pixels.padding, _AIR_HU, pixels.hu).astype(np.float32)
        thin = cv2.blur(filled, size) < PADDING_HU
        below += np.count_nonzero(thin & ~pixels.padding)
        total += np.count_nonzero(~pixels.padding)
    return below / max(1, total)


def _lung(low: np.ndarray) -> bool:
    return bool(len(low)) and bool(np.mean((low > -950) & (low < -600)) > 0.5)


def displacement_hu(pixels: SlicePixels) -> float | None:
    """Measures how far the values of a slice lie from where they belong.

    The histogram of the smoothed slice is compared with that of a body, displaced by
    -1200 to 1200 HU; the most likely displacement counts.

    Args:
        pixels: An object with `hu` and `padding`, (rows, columns) each.

    Returns:
        In HU, in steps of 5; None without soft tissue and air: there is no body.
    """
    filled = np.where(pixels.padding, _AIR_HU, pixels.hu).astype(np.float32)
    width = max(_LEAST_SMOOTHING, filled.shape[1] // _SMOOTHINGS_PER_ROW | 1)
    smooth = cv2.blur(filled, (width, width))[::_EVERY, ::_EVERY]
    known = ~pixels.padding[::_EVERY, ::_EVERY]
    bins, reach = int(2 * _REACH_HU / _FINE_BIN_HU), (-_REACH_HU, _REACH_HU)
    histogram = cv2.calcHist([smooth], [0], known.astype(np.uint8), [bins], reach)
    counts = histogram.ravel()
    likely = np.correlate(_log_likelihood(), counts, "valid")
    best = _FARTHEST_HU - _FINE_BIN_HU * int(np.argmax(likely))
    values = np.arange(-_REACH_HU, _REACH_HU, _FINE_BIN_HU) - best
    soft = counts[(values >= _SOFT_HU[0]) & (values < _SOFT_HU[1])].sum()
    air = counts[values < AIR_BELOW_HU].sum()
    is_body = min(soft / _LEAST_SOFT, air / _LEAST_AIR) >= max(1, known.sum())
    return best if is_body else None


@functools.cache
def _log_likelihood() -> np.ndarray:
    """The log likelihood of each bin, as far as values may be displaced."""
    reach = _REACH_HU + _FARTHEST_HU
    values = np.arange(-reach, reach, _FINE_BIN_HU) + _FINE_BIN_HU / 2
    shares = np.full(len(values), _ELSEWHERE)
    for centre, deviation, share in _PEAKS:
        height = share * _FINE_BIN_HU / (deviation * np.sqrt(2 * np.pi))
        shares += height * np.exp(-(((values - centre) / deviation) ** 2) / 2)
    return np.log(shares).astype(np.float32)


def displaced(displacement: float | None) -> bool:
    """Whether a displacement is larger than that of any correct scan."""
    return displacement is not None and abs(displacement) > MOST_DISPLACED_HU


class Displacements:
    """The displacements of the slices of one scan, each measured once."""

    def __init__(self):
        self._found: dict[int, float | None] = {}
        self._blank: set[int] = set()
        self._told = self._told_blank = 0

    def look(self, slice_index: int, pixels: SlicePixels) -> None:
        """Measures a slice, unless it was measured before."""
        if slice_index not in self._found:
            self._found[slice_index] = displacement_hu(pixels)
            if is_blank(pixels):
                self._blank.add(slice_index)

    def findings(self) -> list[Finding]:
        """Returns CTK-W044 for displaced and for blank slices, if more were seen."""
        found = []
        wrong = sum(map(displaced, self._found.values()))
        if wrong > self._told:
            found += displacement_findings(self._found)
        if len(self._blank) > self._told_blank:
            found.append(self._blank_finding())
        self._told, self._told_blank = wrong, len(self._blank)
        return found

    def _blank_finding(self) -> Finding:
        count = len(self._blank)
        where = f"slice {min(self._blank) + 1}" if count == 1 else f"{count} slices"
        return Finding(
            "CTK-W044",
            f"all pixels of {where} of {len(self._found)} looked at have one value: "
            "they may be lost",
        )


def is_blank(pixels: SlicePixels) -> bool:
    """Whether all pixels have one value that is not padding: the image is missing."""
    first = pixels.stored.flat[0]
    return not pixels.padding.flat[0] and bool((pixels.stored == first).all())


def displacement_findings(found: Mapping[int, float | None]) -> list[Finding]:
    """Tells of slices whose values are displaced.

    Args:
        found: Slice index -> `displacement_hu`, of all slices that were looked at.

    Returns:
        CTK-W044, or nothing.
    """
    wrong = {index: value for index, value in found.items() if displaced(value)}
    if not wrong:
        return []
    typical = float(np.median(list(wrong.values())))
    where = f"slice {min(wrong) + 1}" if len(wrong) == 1 else f"{len(wrong)} slices"
    return [
        Finding(
            "CTK-W044",
            f"air, fat and soft tissue of {where} of {len(found)} looked at lie about "
            f"{typical:+.0f} HU from where they belong: check RescaleIntercept",
        )
    ]
