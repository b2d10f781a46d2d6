"""The noise level used by a filter: given, or estimated from the image."""

from __future__ import annotations

import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.image_quality.noise import noise_index_hu

#: Median of |x| for a standard normal x.
MEDIAN_ABSOLUTE = 0.6745


def noise_sd(image: np.ndarray) -> float:
    """Estimates the standard deviation of the noise of one image, in HU.

    Uses the noise index; with too little soft tissue for it, the median absolute
    difference of neighbouring pixels, which assumes white noise.
    """
    unknown_spacing = (np.nan, np.nan)
    index = noise_index_hu([image], unknown_spacing)
    if index is not None:
        return index
    differences = np.diff(image, axis=-1)
    if differences.size == 0:
        return 0.0
    return float(np.median(np.abs(differences)) / MEDIAN_ABSOLUTE / np.sqrt(2))


def given_or_estimated(image: np.ndarray, given: float | None) -> float:
    """Returns `given`, or the estimate for the image if it is None; both in HU.

    Raises:
        CtKerasError: CTK-E000 for a negative level or one that is not finite.
    """
    if given is None:
        return noise_sd(image)
    if not (np.isfinite(given) and given >= 0):
        raise CtKerasError(
            "CTK-E000",
            "invalid noise level",
            received=given,
            expected="a standard deviation in HU, or None to have it estimated",
        )
    return float(given)
