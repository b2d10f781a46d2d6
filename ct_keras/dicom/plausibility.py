"""Do the values of a series look like Hounsfield units at all?"""

from __future__ import annotations

import numpy as np

from ct_keras.dicom.series import Series
from ct_keras.errors import CtKerasError

AIR_BELOW_HU = -500.0
LOWEST_HU = -3100.0
HIGHEST_HU = 32767.0
_SAMPLES = 3


def check_hu(series: Series) -> None:
    """Refuses a series whose values cannot be Hounsfield units.

    Three slices are looked at; all of them, from the middle outwards, only where no
    air was found before.

    Raises:
        CtKerasError: CTK-E044, if no voxel lies below -500 HU, or more than 1 % or the
            median of a slice lie outside [-3100, 32767] HU.
    """
    count = len(series)
    middle = (count - 1) / 2
    indices = sorted(range(count), key=lambda index: abs(index - middle))
    spread = {0, count // 2, count - 1}
    indices.sort(key=lambda index: index not in spread)
    low, high, air = np.inf, -np.inf, False
    for looked, index in enumerate(indices):
        if looked >= _SAMPLES and air:
            return
        hu = series.read(index).hu
        low, high = min(low, float(hu.min())), max(high, float(hu.max()))
        outside = np.mean((hu < LOWEST_HU) | (hu > HIGHEST_HU))
        if outside > 0.01:
            raise _implausible(low, high, f"{outside:.0%} beyond any scanner")
        air = air or low < AIR_BELOW_HU
    if not air:
        raise _implausible(low, high, "no air")


def _implausible(low: float, high: float, reason: str) -> CtKerasError:
    return CtKerasError(
        "CTK-E044",
        "voxel values are not Hounsfield units "
        f"(min {low:.0f}, max {high:.0f}, {reason})",
        fix="check the rescale values; --force-hu accepts them as they are",
    )
