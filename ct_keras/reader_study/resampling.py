"""Bootstrap over patients: a resample weights each by how often they were drawn.

Slices of one patient are not independent, so a patient comes or goes with all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ct_keras.metrics.statistics import CONFIDENCE, RESAMPLES
from ct_keras.reader_study.criteria import SCORES


def by_patient(values: np.ndarray, patients: Sequence[str]) -> np.ndarray:
    """Gathers the cases of each patient.

    Args:
        values: (..., cases, arms).
        patients: The patient of every case.

    Returns:
        (..., patients, slices of a patient, arms), NaN where a patient has fewer slices
        than another.
    """
    _, patient = np.unique(patients, return_inverse=True)
    rank = [int((patient[:case] == own).sum()) for case, own in enumerate(patient)]
    *outer, _, arms = values.shape
    gathered = np.full((*outer, patient.max() + 1, max(rank) + 1, arms), np.nan)
    gathered[..., patient, rank, :] = values
    return gathered


def draw(patients: int, *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Returns how often each patient was drawn, (resamples, patients) float64."""
    generator = np.random.default_rng(seed)
    share = np.full(patients, 1 / patients)
    return generator.multinomial(patients, share, resamples).astype(np.float64)


def interval(values: np.ndarray, *, patients: int) -> tuple[float, float] | None:
    """Returns the percentile interval at 95 %, or None for fewer than two patients."""
    if patients < 2 or not values.size:
        return None
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def mean_interval(means: np.ndarray, weights: np.ndarray) -> tuple[float, float] | None:
    """Returns the interval of the mean of patients' means; NaN does not count.

    Args:
        means: One per patient.
        weights: (resamples, patients).
    """
    known = ~np.isnan(means)
    drawn = weights[:, known].sum(axis=1)
    sums = weights[:, known] @ means[known]
    return interval(sums[drawn > 0] / drawn[drawn > 0], patients=int(known.sum()))


def median_interval(
    scores: np.ndarray, weights: np.ndarray
) -> tuple[float, float] | None:
    """Returns the interval of the median of all scores of the drawn patients.

    Args:
        scores: (ratings of a patient, patients), 1 to 5, NaN where there is none.
        weights: (resamples, patients).
    """
    upto = np.cumsum(weights @ score_counts(scores), axis=1)
    size = upto[:, -1]
    upto, size = upto[size > 0], size[size > 0]

    def ordered(rank: np.ndarray) -> np.ndarray:
        return SCORES[0] + (upto <= rank[:, None]).sum(axis=1)

    medians = (ordered((size - 1) // 2) + ordered(size // 2)) / 2
    return interval(medians, patients=int((~np.isnan(scores)).any(axis=0).sum()))


def score_counts(scores: np.ndarray) -> np.ndarray:
    """Returns how often each score was given, (patients, 5).

    Args:
        scores: (ratings of a patient, patients), NaN where there is none.
    """
    return np.stack([(scores == score).sum(axis=0) for score in SCORES], axis=-1)
