"""Tunes a filter's parameters on validation pairs, for fair comparisons."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.filters.registry import Filter, require_hu
from ct_keras.progress import track

if TYPE_CHECKING:  # reading records needs TensorFlow, filtering does not
    from ct_keras.data import SlicePair


def tune(
    chosen: Filter, pairs: Sequence[SlicePair], *, progress: bool = False
) -> Filter:
    """Returns the filter with the parameters of its grid that give the least error.

    The error is the root mean square error in HU, averaged over slices.

    Args:
        chosen: From `ct_keras.filters.get`.
        pairs: Slice pairs of a validation split, never of the test split.
        progress: Show a progress bar.

    Raises:
        CtKerasError: CTK-E084, if there are no pairs; CTK-E000 for a filter for display
            only.
    """
    require_hu(chosen)
    if not pairs:
        raise CtKerasError("CTK-E084", "no validation slices to tune a filter on")
    names = list(chosen.grid)
    candidates = [
        chosen.with_parameters(**dict(zip(names, values, strict=True)))
        for values in itertools.product(*chosen.grid.values())
    ]
    errors = [
        np.mean([_rmse(candidate, pair) for pair in pairs])
        for candidate in track(candidates, f"Tuning {chosen.name}", enabled=progress)
    ]
    return candidates[int(np.nanargmin(errors))]


def _rmse(candidate: Filter, pair: SlicePair) -> float:
    error = candidate.on_pair(pair).astype(np.float64) - pair.full_hu
    return float(np.sqrt(np.mean(error**2)))
