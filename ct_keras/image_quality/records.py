"""Results as records for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ct_keras.image_quality.cho import ObserverResult, auc_difference


def observer_record(found: ObserverResult, base: ObserverResult) -> dict:
    """Returns the result of an observer and its difference from another method."""
    difference, interval = auc_difference(found, base)
    return {
        "auc": found.auc,
        "auc_interval": list(found.auc_interval),
        "dprime": found.dprime,
        "dprime_interval": list(found.dprime_interval),
        "images": list(found.images),
        "auc_difference": difference,
        "auc_difference_interval": list(interval),
    }


def plain(value: object) -> object:
    """Converts arrays to lists and values that are not finite to None."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
