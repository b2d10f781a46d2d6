"""Is a series what the model was trained on?

The ranges are those of the model card (`ct_keras.data.training_ranges`). For a filter,
or a model without them, only the values are checked: are they Hounsfield units?
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from ct_keras.dicom import Series
from ct_keras.dicom.pixels import SlicePixels
from ct_keras.errors import CtKerasError, Finding
from ct_keras.hu import PADDING_HU
from ct_keras.image_quality import noise_frequency_per_cm, noise_index_hu
from ct_keras.image_quality.noise import middle_slices
from ct_keras.metrics.tissues import FAT_TO_SOFT_HU

#: Estimates and headers this far outside a range still count as inside.
TOLERANCE = 0.25
#: A noise index above the range by more than this factor is refused. One far below is
#: not: the worst that happens to a quiet scan is a little blur.
REFUSED_FACTOR = 2.0
AIR_PEAK_HU = (-1100.0, -900.0)
FEWEST_SOFT = 0.01
#: A larger share of means below the density of air is no matter of noise or metal.
MOST_BELOW_AIR = 1e-3
#: Between lung and fat lie only borders: never so many times more than soft tissue.
BETWEEN_HU = (-500.0, -200.0)
MOST_BETWEEN = 2.0
_BIN_HU = 10.0
#: Noise alone takes single pixels of air below -1100 HU, but hardly means of 5 x 5.
_MEAN_PIXELS = 5
_AIR_HU = -1000.0
_KERNEL_LETTERS = 16


@dataclass(frozen=True)
class Entrance:
    """What was measured of a series before it was denoised.

    Attributes:
        noise_index_hu: Global noise index, None where there is too little soft tissue.
        noise_frequency_per_cm: Mean frequency of the noise, None as before.
        findings: What lies outside the model card.
        overridden: Refusals that were overridden, as text.
    """

    noise_index_hu: float | None
    noise_frequency_per_cm: float | None
    findings: list[Finding] = field(default_factory=list)
    overridden: list[str] = field(default_factory=list)


def check_series(
    series: Series,
    ranges: dict | None,
    *,
    model: str,
    override: bool = False,
    read: Callable[[int], SlicePixels] | None = None,
) -> Entrance:
    """Compares a series with what a model was trained on.

    Args:
        series: Any CT series.
        ranges: From the model card; None if nothing is known.
        model: Name of the model, for the findings.
        override: Note refusals instead of raising them.
        read: Gives a slice by its number, where they are not to be read from the
            series; each is asked for once.

    Returns:
        Measures and findings: CTK-W060 (header), W061 (noise level), W062 (texture).

    Raises:
        CtKerasError: CTK-E044, if the values cannot be HU (no peak of air within 100 HU
            of -1000, values below that of air, next to no soft tissue, or more between
            lung and fat than there is of it); CTK-E061, if the noise index is above
            twice the upper end of the range.
    """
    count = len(series)
    look = functools.cache(read or series.read)
    indices = sorted({count // 4, count // 2, 3 * count // 4})
    slices = [look(index) for index in indices]
    refusals = [_not_hounsfield(slices)]
    spacing_mm = series.spacing_mm[1:]
    middle = (look(index).hu for index in middle_slices(count))
    noise = noise_index_hu(middle, spacing_mm)
    planes = [pixels.hu for pixels in slices]
    texture = noise_frequency_per_cm(planes, spacing_mm)
    findings = []
    if ranges:
        findings += _header(series, ranges, model)
        refusals.append(_noise_far_off(noise, ranges.get("noise_index_hu"), model))
        findings += _noise(noise, ranges.get("noise_index_hu"), model)
        findings += _texture(texture, ranges.get("noise_frequency_per_cm"), model)
    refusals = [refusal for refusal in refusals if refusal]
    if refusals and not override:
        raise refusals[0]
    return Entrance(noise, texture, findings, [str(refusal) for refusal in refusals])


def _not_hounsfield(slices: list[SlicePixels]) -> CtKerasError | None:
    """The peak of air, where there is air, nothing below it, and some soft tissue."""
    values = np.concatenate([pixels.hu[~pixels.padding] for pixels in slices])
    low = values[(values > -1500) & (values < -500)]
    soft = _share(values, FAT_TO_SOFT_HU)
    below = _below_air(slices)
    peak = None
    if len(low):
        counts, edges = np.histogram(low, np.arange(-1500, -500 + _BIN_HU, _BIN_HU))
        peak = float(edges[np.argmax(counts)] + _BIN_HU / 2)
    air_is_right = peak is not None and AIR_PEAK_HU[0] <= peak <= AIR_PEAK_HU[1]
    # A field of view inside the body shows lung, or a little gas.
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
    """The share of pixels around which the mean is below the density of any gas."""
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


def _noise_far_off(noise, known, model: str) -> CtKerasError | None:
    if noise is None or not known:
        return None
    if noise <= known[1] * REFUSED_FACTOR:
        return None
    return CtKerasError(
        "CTK-E061",
        f"the noise is far above what {model} was trained on",
        received=f"noise index {noise:.0f} HU",
        expected=f"{known[0]:.0f} to {known[1]:.0f} HU",
        fix="choose another model, or override the guards and look at every slice",
    )


def _noise(noise, known, model: str) -> list[Finding]:
    if noise is None or not known or _inside(noise, known):
        return []
    text = f"noise index {noise:.0f} HU is outside {known[0]:.0f}-{known[1]:.0f} HU, "
    text += f"the training range of {model}"
    if noise < known[0]:
        text += ": already low noise, denoising may only blur"
    return [Finding("CTK-W061", text)]


def _texture(frequency, known, model: str) -> list[Finding]:
    if frequency is None or not known or _inside(frequency, known):
        return []
    return [
        Finding(
            "CTK-W062",
            f"noise texture differs from training (kernel?): mean frequency "
            f"{frequency:.1f} per cm is outside {known[0]:.1f}-{known[1]:.1f}, the "
            f"training range of {model}",
        )
    ]


def _header(series: Series, ranges: dict, model: str) -> list[Finding]:
    values = (
        ("pixel spacing", series.spacing_mm[1:], "pixel_spacing_mm"),
        ("slice thickness", [series.slice_thickness_mm], "slice_thickness_mm"),
    )
    findings = [
        Finding(
            "CTK-W060",
            f"{name} {value:.4g} mm is outside {ranges[key][0]:.4g}-"
            f"{ranges[key][1]:.4g} mm, the training range of {model}",
        )
        for name, found, key in values
        for value in sorted({value for value in found if value and value > 0})
        if ranges.get(key) and not _inside(value, ranges[key])
    ]
    return findings + _kernel(series.kernel, ranges.get("kernels"), model)


def _kernel(kernel: str | None, known: list[str] | None, model: str) -> list[Finding]:
    """The names as they stand; nothing is said where one side has none."""
    if not kernel or not known or kernel.casefold() in map(str.casefold, known):
        return []
    # Free text of a file may not steer a terminal.
    shown = "".join(letter if letter.isprintable() else "?" for letter in kernel)
    return [
        Finding(
            "CTK-W060",
            f"kernel {shown[:_KERNEL_LETTERS]} is not among the training kernels of "
            f"{model}",
        )
    ]


def _inside(value: float, known: list[float]) -> bool:
    return known[0] * (1 - TOLERANCE) <= value <= known[1] * (1 + TOLERANCE)
