"""Visual grading characteristics: how the scores of two methods lie to each other."""

from __future__ import annotations

import numpy as np

from ct_keras.metrics.statistics import auc, percentile_interval
from ct_keras.reader_study.criteria import SCORES
from ct_keras.reader_study.resampling import score_counts


def vgc_area(
    method: np.ndarray, reference: np.ndarray, weights: np.ndarray
) -> tuple[float, tuple[float, float] | None]:
    """Returns the area under the VGC curve and its bootstrap interval over patients.

    It is the Mann-Whitney area of the pooled scores: the chance that a score of the
    method is higher than one of the reference, ties counted half. 0.5 means alike.

    Args:
        method: (ratings of a patient, patients), 1 to 5, NaN where there is none.
        reference: Of the same panels' cases.
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
