"""The intraclass correlation of readers who all rated the same things."""

from __future__ import annotations

import numpy as np

from ct_keras.metrics.statistics import percentile_interval


def icc(ratings: np.ndarray) -> float | None:
    """Returns ICC(2,1): two-way random effects, absolute agreement, a single reader.

    Args:
        ratings: (readers, things rated); a thing that not every reader rated, NaN, is
            left out.

    Returns:
        1 for full agreement; None for one reader, fewer than two things or ratings that
        are all one and the same.

    Reference:
        Shrout and Fleiss 1979, doi:10.1037/0033-2909.86.2.420
    """
    found = _correlations(ratings[:, None], np.ones((1, 1)))
    return float(found[0]) if found.size else None


def icc_interval(
    ratings: np.ndarray, weights: np.ndarray
) -> tuple[float, float] | None:
    """Returns the bootstrap interval over patients of `icc`.

    Args:
        ratings: (readers, patients, things of a patient), NaN where there is none.
        weights: (resamples, patients), see `metrics.resample_weights`.
    """
    patients = (~np.isnan(ratings).any(axis=0)).any(axis=1).sum()
    return percentile_interval(_correlations(ratings, weights), patients=int(patients))


def _correlations(ratings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """ICC(2,1) of each resample for which it is defined.

    Only sums are needed: of the things (targets), of each reader (judges), and of their
    squares; the mean squares follow as in the table of a two-way analysis of variance.
    """
    readers = len(ratings)
    rated = ~np.isnan(ratings).any(axis=0)
    if readers < 2 or not rated.any():
        return np.empty(0)
    # Without the mean, sums of squares lose no digits to it.
    values = np.where(rated, ratings - ratings[:, rated].mean(), 0)
    things = weights @ rated.sum(axis=1)
    by_reader = weights @ values.sum(axis=2).T
    squares = weights @ (values**2).sum(axis=(0, 2))
    target_squares = weights @ (values.sum(axis=0) ** 2).sum(axis=1) / readers
    enough = things > 1
    things, by_reader = things[enough], by_reader[enough]
    squares, target_squares = squares[enough], target_squares[enough]

    middle = by_reader.sum(axis=1) ** 2 / (things * readers)
    judges = (by_reader**2).sum(axis=1) / things - middle
    targets = target_squares - middle
    rest = squares - middle - judges - targets
    between_judges = judges / (readers - 1)
    between_targets = targets / (things - 1)
    error = rest / ((things - 1) * (readers - 1))
    whole = (
        between_targets
        + (readers - 1) * error
        + readers * (between_judges - error) / things
    )
    defined = whole > 1e-12
    return (between_targets - error)[defined] / whole[defined]
