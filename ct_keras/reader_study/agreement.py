"""Agreement between readers (inter-reader) and with themselves (intra-reader).

Arrays of scores are grouped by patient, see `resampling.by_patient`: the ratings of a
patient are those of all slices and panels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from ct_keras.metrics.statistics import percentile_interval
from ct_keras.reader_study.criteria import SCORES


def weighted_kappa(one: np.ndarray, other: np.ndarray) -> float | None:
    """Returns Cohen's kappa with quadratic weights.

    Args:
        one: Scores 1 to 5, any shape; NaN if missing.
        other: Of the same things.

    Returns:
        1 for full agreement, 0 for agreement by chance; None if all scores are equal,
        as kappa is then undefined.

    Reference:
        Cohen 1968, doi:10.1037/h0026256
    """
    from sklearn.metrics import cohen_kappa_score

    both = ~(np.isnan(one) | np.isnan(other))
    first, second = one[both].astype(int), other[both].astype(int)
    if np.unique([first, second]).size < 2:
        return None
    kappa = cohen_kappa_score(first, second, labels=SCORES, weights="quadratic")
    return float(kappa)


def kappa_interval(
    one: np.ndarray, other: np.ndarray, weights: np.ndarray
) -> tuple[float, float] | None:
    """Returns the bootstrap interval over patients of `weighted_kappa`.

    With quadratic weights, kappa depends only on sums of scores, their squares and
    products, so all resamples are computed by one matrix product.

    Args:
        one: (patients, ratings of a patient), NaN if missing.
        other: Of the same things.
        weights: (resamples, patients), see `metrics.resample_weights`.
    """
    both = ~(np.isnan(one) | np.isnan(other))
    first, second = np.where(both, one, 0), np.where(both, other, 0)

    def total(values: np.ndarray) -> np.ndarray:
        return weights @ values.sum(axis=1)

    count = np.maximum(total(both), 1)
    disagreement = total((first - second) ** 2) / count
    by_chance = (total(first**2) + total(second**2)) / count - 2 * total(first) * total(
        second
    ) / count**2
    defined = by_chance > 1e-12
    kappa = 1 - disagreement[defined] / by_chance[defined]
    return percentile_interval(kappa, patients=int(both.any(axis=1).sum()))


def krippendorff_alpha(ratings: np.ndarray) -> float | None:
    """Returns Krippendorff's alpha for ordinal scores.

    Args:
        ratings: (readers, items), 1 to 5, NaN if missing.

    Returns:
        1 for full agreement, 0 for agreement by chance; None if no item was rated twice
        or all scores are equal.

    Reference:
        Krippendorff 2011, Computing Krippendorff's alpha-reliability,
        https://repository.upenn.edu/handle/20.500.14332/2089
    """
    alphas = _alphas(_coincidences(ratings).sum(axis=0)[None])
    return float(alphas[0]) if alphas.size else None


def alpha_interval(
    ratings: np.ndarray, weights: np.ndarray
) -> tuple[float, float] | None:
    """Returns the bootstrap interval over patients of `krippendorff_alpha`.

    Args:
        ratings: (readers, patients, ratings of a patient), NaN if missing.
        weights: (resamples, patients), see `metrics.resample_weights`.
    """
    readers, patients, _ = ratings.shape
    each = _coincidences(ratings.reshape(readers, -1))
    each = each.reshape(patients, -1, *each.shape[1:]).sum(axis=1)
    alphas = _alphas(np.einsum("bc,cij->bij", weights, each))
    return percentile_interval(alphas, patients=patients)


def icc(ratings: np.ndarray) -> float | None:
    """Returns ICC(2,1): two-way random effects, absolute agreement, a single reader.

    Args:
        ratings: (readers, items); items with a missing rating, NaN, are left out.

    Returns:
        1 for full agreement; None for one reader, fewer than two items or equal
        ratings.

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
        ratings: (readers, patients, items of a patient), NaN if missing.
        weights: (resamples, patients), see `metrics.resample_weights`.
    """
    patients = (~np.isnan(ratings).any(axis=0)).any(axis=1).sum()
    return percentile_interval(_correlations(ratings, weights), patients=int(patients))


def pair_agreement(
    readers: Sequence[str], scores: np.ndarray, weights: np.ndarray
) -> list[dict]:
    """Returns kappa for every pair of readers.

    Args:
        readers: Names.
        scores: (readers, patients, ratings of a patient).
        weights: (resamples, patients).
    """
    return [
        {
            "readers": [readers[one], readers[other]],
            "pairs": _count(scores[one], scores[other]),
            "kappa": weighted_kappa(scores[one], scores[other]),
            "ci95": kappa_interval(scores[one], scores[other], weights),
        }
        for one, other in itertools.combinations(range(len(readers)), 2)
    ]


def own_agreement(
    readers: Sequence[str],
    scores: np.ndarray,
    repeated: np.ndarray,
    weights: np.ndarray,
) -> list[dict]:
    """Returns kappa of each reader's first and second answers to a case.

    Args:
        readers: Names.
        scores: (readers, patients, ratings of a patient), first showing.
        repeated: The same for the second showing.
        weights: (resamples, patients).
    """
    return [
        {
            "reader": reader,
            "pairs": _count(scores[number], repeated[number]),
            "kappa": weighted_kappa(scores[number], repeated[number]),
            "ci95": kappa_interval(scores[number], repeated[number], weights),
        }
        for number, reader in enumerate(readers)
    ]


def _count(one: np.ndarray, other: np.ndarray) -> int:
    return int((~(np.isnan(one) | np.isnan(other))).sum())


def _coincidences(ratings: np.ndarray) -> np.ndarray:
    """(items, 5, 5): how often two readers gave each pair of scores to an item."""
    given = np.stack([(ratings == score).sum(axis=0) for score in SCORES], axis=-1)
    pairs = given[:, :, None] * given[:, None, :].astype(float)
    diagonal = np.arange(len(SCORES))
    pairs[:, diagonal, diagonal] -= given
    raters = given.sum(axis=-1)
    return pairs / np.maximum(raters - 1, 1)[:, None, None]


def _alphas(coincidences: np.ndarray) -> np.ndarray:
    """Alpha of each (..., 5, 5) table for which it is defined."""
    margins = coincidences.sum(axis=-1)
    below = np.cumsum(margins, axis=-1) - margins / 2
    distance = (below[:, :, None] - below[:, None, :]) ** 2
    observed = (coincidences * distance).sum(axis=(1, 2))
    chance = (margins[:, :, None] * margins[:, None, :] * distance).sum(axis=(1, 2))
    defined = chance > 0
    size = margins.sum(axis=-1)[defined] - 1
    return 1 - size * observed[defined] / chance[defined]


def _correlations(ratings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """ICC(2,1) of each resample for which it is defined.

    Only sums over items (targets) and readers (judges) and sums of squares are needed;
    the mean squares follow as in a two-way analysis of variance.
    """
    readers = len(ratings)
    rated = ~np.isnan(ratings).any(axis=0)
    if readers < 2 or not rated.any():
        return np.empty(0)
    # Subtracting the mean avoids a loss of precision in the sums of squares.
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
