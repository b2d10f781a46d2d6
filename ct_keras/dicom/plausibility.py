"""Do the values of a stack look like Hounsfield units at all?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ct_keras.errors import CtKerasError

AIR_BELOW_HU = -500.0
LOWEST_HU = -3100.0
HIGHEST_HU = 32767.0
#: Metal may be denser, but never fills this share of a slice.
DENSE_HU, MOST_DENSE = 4000.0, 0.25
_SAMPLES = 3


def check_hu(read: Callable[[int], np.ndarray], count: int) -> None:
    """Refuses a stack whose values cannot be Hounsfield units.

    Three slices are looked at; all of them, from the middle outwards, only where no
    air was found before.

    Args:
        read: From the number of a slice to its HU, (rows, columns).
        count: How many slices there are.

    Raises:
        CtKerasError: CTK-E044, if no pixel lies below -500 HU, more than 1 % of a
            slice lie outside [-3100, 32767] HU, or more than a quarter above 4000 HU.
    """
    middle = (count - 1) / 2
    indices = sorted(range(count), key=lambda index: abs(index - middle))
    spread = {0, count // 2, count - 1}
    indices.sort(key=lambda index: index not in spread)
    low, high = np.inf, -np.inf
    for looked, index in enumerate(indices):
        if looked >= _SAMPLES and low < AIR_BELOW_HU:
            return
        hu = read(index)
        low, high = min(low, float(hu.min())), max(high, float(hu.max()))
        outside = np.mean((hu < LOWEST_HU) | (hu > HIGHEST_HU))
        if outside > 0.01:
            raise _implausible(low, high, f"{outside:.0%} beyond any scanner")
        dense = np.mean(hu > DENSE_HU)
        if dense > MOST_DENSE:
            raise _implausible(low, high, f"{dense:.0%} denser than bone")
    if low >= AIR_BELOW_HU:
        raise _implausible(low, high, "no air")


def _implausible(low: float, high: float, reason: str) -> CtKerasError:
    return CtKerasError(
        "CTK-E044",
        f"pixel values are not Hounsfield units (min {low:.0f}, max {high:.0f}, "
        f"{reason})",
        fix="check slope and intercept, or accept the values as they are: "
        "force_hu=True (--force-hu of inspect, denoise, simulate and convert)",
    )
