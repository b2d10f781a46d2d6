"""The highest PSNR that a noisy reference allows.

A reference y = x + n holds noise of its own. The noise-free image x itself differs from
y by n, so it scores only the variance of n. If the low dose z was made from y by adding
noise, z tells something about n: the best estimate of y from x and z is (1 - d) x + d z
for the dose fraction d, and its error is (1 - d) var(n).

Reference:
    Moran et al., Noisier2Noise, CVPR 2020, doi:10.1109/CVPR42600.2020.01208.
"""

from __future__ import annotations

import math

import numpy as np

from ct_keras.image_quality.noise import noise_index_hu
from ct_keras.metrics.pixelwise import mse, psnr_of_mse
from ct_keras.metrics.protocols import MAIN, PROTOCOLS

#: A reference whose noise variance is below this share of what its low dose implies is
#: taken to be free of noise: what was measured is texture.
_NOISE_FREE = 0.25
_PROTOCOL = PROTOCOLS[MAIN]
#: The keys that `reference_ceiling` returns.
KEYS = ("reference_noise_hu", "psnr_ceiling")


def reference_ceiling(pair, dose: float | None) -> dict[str, float | None]:
    """Estimates the noise of a reference and the PSNR that it allows.

    The noise is the noise index of the reference, in the share of the pixels that lie
    inside the window of the main protocol. Anatomy can make that too high, so for a
    known dose it is at most what the low dose implies: noise of variance
    (1/d - 1) var(n) was added to it. A pair that tells its `noise_share` is taken at
    its word instead of its dose; 0 is a reference without noise.

    Args:
        pair: A `ct_keras.data.SlicePair`, or an object with its images and spacing.
        dose: The dose fraction of the low dose, or None if unknown.

    Returns:
        ``reference_noise_hu`` (a standard deviation in soft tissue) and
        ``psnr_ceiling`` (dB, main protocol): None for a reference without noise or
        with too little soft tissue, and at full dose, where the input can be the
        reference.
    """
    reference = np.asarray(pair.full_hu)
    spacing_mm = getattr(pair, "spacing_mm", None) or (math.nan, math.nan)
    index = noise_index_hu([reference], spacing_mm)
    inside = (reference > _PROTOCOL.low_hu) & (reference < _PROTOCOL.high_hu)
    share = float(np.mean(inside))
    nothing = dict.fromkeys(KEYS)
    told = getattr(pair, "noise_share", None)
    dose = dose if told is None else told
    if not index or not share or (dose is not None and not 0 < dose < 1):
        return nothing
    noise, left = index**2 * share, 1.0
    if dose is not None:
        added = mse(reference=_PROTOCOL.map(reference), test=_PROTOCOL.map(pair.low_hu))
        implied = added * dose / (1 - dose)
        if noise < _NOISE_FREE * implied:
            return nothing
        noise, left = min(noise, implied), 1 - dose
    ceiling = psnr_of_mse(left * noise, data_range=_PROTOCOL.range_hu)
    return dict(zip(KEYS, (math.sqrt(noise / share), ceiling), strict=True))
