"""Scores grouped by patient, and their bootstrap over patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ct_keras.metrics.statistics import auc, percentile_interval
from ct_keras.reader_study.criteria import SCORES


def by_patient(values: np.ndarray, patients: Sequence[str]) -> np.ndarray:
    """Groups the cases by patient.

    Args:
        values: (..., cases, arms).
        patients: The patient of every case.

    Returns:
        (..., patients, slices of a patient, arms), filled with NaN for patients with
        fewer slices.
    """
    _, patient = np.unique(patients, return_inverse=True)
    rank = [int((patient[:case] == own).sum()) for case, own in enumerate(patient)]
    *outer, _, arms = values.shape
    gathered = np.full((*outer, patient.max() + 1, max(rank) + 1, arms), np.nan)
    gathered[..., patient, rank, :] = values
    return gathered


def median_interval(
    scores: np.ndarray, weights: np.ndarray
) -> tuple[float, float] | None:
    """Returns the interval of the median of all scores of the drawn patients.

    Args:
        scores: (ratings of a patient, patients), 1 to 5, NaN if missing.
        weights: (resamples, patients), see `metrics.resample_weights`.
    """
    upto = np.cumsum(weights @ score_counts(scores), axis=1)
    size = upto[:, -1]
    upto, size = upto[size > 0], size[size > 0]

    def ordered(rank: np.ndarray) -> np.ndarray:
        return SCORES[0] + (upto <= rank[:, None]).sum(axis=1)

    medians = (ordered((size - 1) // 2) + ordered(size // 2)) / 2
    return percentile_interval(
        medians, patients=int((~np.isnan(scores)).any(axis=0).sum())
    )


def score_counts(scores: np.ndarray) -> np.ndarray:
    """Returns how often each score was given, (patients, 5).

    Args:
        scores: (ratings of a patient, patients), NaN where there is none.
    """
    return np.stack([(scores == score).sum(axis=0) for score in SCORES], axis=-1)


def vgc_area(
    method: np.ndarray, reference: np.ndarray, weights: np.ndarray
) -> tuple[float, tuple[float, float] | None]:
    """Returns the area under the VGC curve and its bootstrap interval over patients.

    It is the Mann-Whitney area of the pooled scores: the probability that a score of
    the method is higher than one of the reference, ties counted half. 0.5 means equal.

    Args:
        method: (ratings of a patient, patients), 1 to 5, NaN if missing.
        reference: Scores of the reference for the same cases.
        weights: (resamples, patients), see `metrics.resample_weights`.

    Reference:
        Bath and Mansson 2007, doi:10.1259/bjr/35012658
    """
    ours, theirs = score_counts(method), score_counts(reference)
    patients = int((ours.any(axis=1) | theirs.any(axis=1)).sum())

    def area(mine: np.ndarray, others: np.ndarray) -> float | np.ndarray:
        weights = {"present_weights": mine, "absent_weights": others}
        return auc(SCORES, SCORES, **weights)

    resampled = area(weights @ ours, weights @ theirs)
    whole = area(ours.sum(axis=0), theirs.sum(axis=0))
    return whole, percentile_interval(resampled, patients=patients)
