"""Every filter with its parameters, their units and the values for tuning."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ct_keras.filters import (
    bm3d,
    contrast,
    ksvd,
    lecture,
    local,
    rank,
    smoothing,
    wavelet,
)
from ct_keras.filters.registry import Filter
from ct_keras.registry import Registry


class Parameter(NamedTuple):
    """One parameter of a filter.

    Attributes:
        default: Default value.
        meaning: Description, with the unit.
        grid: Values to try in tuning; empty if it is not tuned.
        least: Smallest valid value.
    """

    default: float | None
    meaning: str
    grid: tuple[float, ...] = ()
    least: float = 0


NOISE_SD = Parameter(
    None, "noise standard deviation, HU; None estimates it for each slice"
)


def _entry(
    name: str,
    title: str,
    function: Callable[..., np.ndarray],
    *,
    hu_preserving: bool = True,
    **parameters: Parameter,
) -> Filter:
    return Filter(
        name,
        title,
        function,
        {key: parameter.default for key, parameter in parameters.items()},
        {
            key: parameter.grid
            for key, parameter in parameters.items()
            if parameter.grid
        },
        {key: parameter.meaning for key, parameter in parameters.items()},
        {key: parameter.least for key, parameter in parameters.items()},
        hu_preserving,
    )


def _size(default: int, *grid: int) -> Parameter:
    return Parameter(default, "side of the window, pixels, odd", grid, 1)


def _strength(*grid: float) -> Parameter:
    return Parameter(1.0, "factor on the noise level", grid)


_ENTRIES = (
    _entry("mean", "Mean of a square window", smoothing.mean, size=_size(3, 3, 5, 7)),
    _entry(
        "gaussian",
        "Gaussian smoothing",
        smoothing.gaussian,
        sigma=Parameter(
            1.0, "standard deviation, pixels", (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
        ),
    ),
    _entry("blur", "The lecture's 3 x 3 blur", lecture.blur),
    _entry("gaussian_5x5", "The lecture's 5 x 5 Gaussian", lecture.gaussian_5x5),
    _entry("median", "Median of a square window", rank.median, size=_size(3, 3, 5)),
    _entry(
        "sigma",
        "Sigma filter (Lee)",
        rank.sigma,
        size=_size(7, 5, 7, 9),
        reach=Parameter(
            2.0, "largest difference of a pixel, noise SDs", (1.5, 2.0, 3.0)
        ),
        fewest=Parameter(3, "a spike has at most this many similar pixels"),
        noise_sd=NOISE_SD,
    ),
    _entry(
        "wiener",
        "Local Wiener filter",
        local.wiener,
        size=_size(5, 3, 5, 7, 9),
        strength=_strength(0.75, 1.0, 1.25, 1.5),
        noise_sd=NOISE_SD,
    ),
    _entry(
        "bilateral",
        "Bilateral filter",
        local.bilateral,
        sigma=Parameter(
            1.5, "standard deviation in the plane, pixels", (1.0, 1.5, 2.5)
        ),
        reach=Parameter(
            2.0, "standard deviation of HU, noise SDs", (1.5, 2.0, 3.0, 4.0)
        ),
        noise_sd=NOISE_SD,
    ),
    _entry(
        "tv",
        "Total variation (Chambolle)",
        local.tv,
        weight=Parameter(
            1.0, "weight of total variation, noise SDs", (0.5, 0.75, 1.0, 1.5, 2.0)
        ),
        noise_sd=NOISE_SD,
        iterations=Parameter(100, "iterations of the projection", least=1),
    ),
    _entry(
        "wavelet",
        "Undecimated wavelet, thresholds by local variance",
        wavelet.wavelet,
        levels=Parameter(4, "levels of the decomposition", least=1),
        strength=_strength(0.75, 1.0, 1.25, 1.5, 2.0),
        noise_sd=NOISE_SD,
    ),
    _entry(
        "nlm",
        "Non-local means",
        smoothing.nlm,
        h=Parameter(
            0.8,
            "filter strength: patch difference, noise SDs",
            (0.4, 0.6, 0.8, 1.0, 1.3),
        ),
        patch_size=Parameter(5, "side of a patch, pixels", (3, 5), 1),
        patch_distance=Parameter(6, "radius of the search window, pixels"),
        noise_sd=NOISE_SD,
    ),
    _entry(
        "bm3d",
        "BM3D, block matching and 3-D filtering",
        bm3d.bm3d,
        strength=_strength(0.75, 1.0, 1.25, 1.5, 2.0, 2.5),
        noise_sd=NOISE_SD,
    ),
    _entry(
        "ksvd",
        "K-SVD, dictionary learned from the image",
        ksvd.ksvd,
        strength=_strength(0.5, 0.75, 1.0, 1.25),
        iterations=Parameter(10, "rounds of sparse coding and update", least=1),
        noise_sd=NOISE_SD,
    ),
    _entry(
        "outline",
        "The lecture's outline kernel",
        lecture.outline,
        hu_preserving=False,
    ),
    _entry(
        "clahe",
        "Contrast-limited adaptive histogram equalisation",
        contrast.clahe,
        hu_preserving=False,
        tiles=Parameter(8, "tiles along each axis", least=1),
        clip_limit=Parameter(0.01, "largest share of pixels with one grey value"),
    ),
)
FILTERS = Registry("filter", _ENTRIES)
