"""Visual grading characteristics: how the scores of two methods lie to each other."""

from __future__ import annotations

import numpy as np

from ct_keras.reader_study.resampling import interval, score_counts


def vgc_area(
    method: np.ndarray, reference: np.ndarray, weights: np.ndarray
) -> tuple[float, tuple[float, float] | None]:
    """Returns the area under the VGC curve and its bootstrap interval over patients.

    It is the Mann-Whitney area of the pooled scores: the chance that a score of the
    method is higher than one of the reference, ties counted half. 0.5 means alike.

    Args:
        method: (ratings of a patient, patients), 1 to 5, NaN where there is none.
        reference: Of the same panels' cases.
        weights: (resamples, patients), see `resampling.draw`.

    Reference:
        Bath and Mansson 2007, doi:10.1259/bjr/35012658
    """
    ours, theirs = score_counts(method), score_counts(reference)
    area = _areas(ours.sum(axis=0)[None], theirs.sum(axis=0)[None])[0]
    patients = int((ours.any(axis=1) | theirs.any(axis=1)).sum())
    resampled = _areas(weights @ ours, weights @ theirs)
    return float(area), interval(resampled, patients=patients)


def _areas(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The area of each (..., 5) pair of counts for which it is defined."""
    size = ours.sum(axis=-1) * theirs.sum(axis=-1)
    below = np.cumsum(theirs, axis=-1) - theirs / 2
    return (ours * below).sum(axis=-1)[size > 0] / size[size > 0]
