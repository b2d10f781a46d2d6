"""Bootstrap over cases: each resample weights every case by how often it was drawn."""

from __future__ import annotations

import numpy as np

from ct_keras.evaluation.reader_study.criteria import SCORES
from ct_keras.evaluation.statistics import CONFIDENCE, RESAMPLES


def draw(cases: int, *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Returns how often each case was drawn, (resamples, cases) float64."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(cases, np.full(cases, 1 / cases), resamples).astype(
        np.float64
    )


def interval(values: np.ndarray, *, cases: int) -> tuple[float, float] | None:
    """Returns the percentile interval at 95 %, or None for fewer than two cases."""
    if cases < 2 or not values.size:
        return None
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def mean_interval(means: np.ndarray, weights: np.ndarray) -> tuple[float, float] | None:
    """Returns the interval of the mean of case means; NaN cases do not count.

    Args:
        means: One per case.
        weights: (resamples, cases).
    """
    known = ~np.isnan(means)
    drawn = weights[:, known].sum(axis=1)
    sums = weights[:, known] @ means[known]
    return interval(sums[drawn > 0] / drawn[drawn > 0], cases=int(known.sum()))


def median_interval(
    scores: np.ndarray, weights: np.ndarray
) -> tuple[float, float] | None:
    """Returns the interval of the median of all scores of the drawn cases.

    Args:
        scores: (readers, cases), 1 to 5, NaN where there is none.
        weights: (resamples, cases).
    """
    counts = np.stack([(scores == score).sum(axis=0) for score in SCORES], axis=-1)
    upto = np.cumsum(weights @ counts, axis=1)
    size = upto[:, -1]
    upto, size = upto[size > 0], size[size > 0]

    def ordered(rank: np.ndarray) -> np.ndarray:
        return SCORES[0] + (upto <= rank[:, None]).sum(axis=1)

    medians = (ordered((size - 1) // 2) + ordered(size // 2)) / 2
    return interval(medians, cases=int((~np.isnan(scores)).any(axis=0).sum()))
