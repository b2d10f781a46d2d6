"""From unblinded answers to medians, intervals, tests and agreement."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from ct_keras.evaluation.document import NOTICE
from ct_keras.evaluation.reader_study import agreement, resampling
from ct_keras.evaluation.reader_study.answers import Ratings
from ct_keras.evaluation.reader_study.criteria import FINDINGS, FULL_DOSE
from ct_keras.evaluation.statistics import CONFIDENCE, RESAMPLES, holm


def score_study(key: Mapping, ratings: Ratings, *, seed: int = 0) -> dict:
    """Computes everything that a study shows.

    A case's score of a method is the mean over its readers; tests and intervals go
    over cases. Repeated showings serve the readers' agreement with themselves only.

    Args:
        key: From `read_key`.
        ratings: From `unblind`.
        seed: Of the bootstrap.

    Returns:
        ``summary`` (one row per method and criterion), ``friedman`` (one per
        criterion), ``pairs`` (one per two methods and criterion), ``agreement``,
        ``findings``, ``preference``, ``marks``. What does not exist is None.
    """
    weights = resampling.draw(len(key["cases"]), seed=seed)
    roles = {arm["name"]: arm["role"] for arm in key["arms"]}
    document = {
        "notice": NOTICE,
        "study": key["study"],
        "title": key["title"],
        "readers": list(ratings.readers),
        "minutes": {name: round(s / 60, 1) for name, s in ratings.seconds.items()},
        "cases": len(key["cases"]),
        "patients": len({case["case"] for case in key["cases"]}),
        "missing": ratings.missing,
        "statistics": {
            "interval": f"{CONFIDENCE:.0%} percentile bootstrap over cases",
            "resamples": RESAMPLES,
            "seed": seed,
            "tests": "Friedman and Wilcoxon signed-rank on the means over readers of "
            "each case, two-sided; Holm over all pairs and criteria",
            "kappa": "quadratic weights",
        },
        "primary": key["primary"],
        "summary": _summary(ratings, weights, roles),
        "friedman": _friedman(ratings),
        "pairs": _pairs(ratings, weights, key["primary"]),
        "agreement": _agreement(ratings, weights),
        "findings": _findings(ratings, weights),
        "preference": _preference(ratings, weights),
        "marks": ratings.marks,
        "remarks": ratings.remarks,
    }
    return document


def case_means(scores: np.ndarray) -> np.ndarray:
    """Returns the mean over readers of (readers, cases, ...); NaN where none read.

    Rounded, so that equal scores give equal means whatever the order of readers.
    """
    read = ~np.isnan(scores)
    count = read.sum(axis=0)
    sums = np.where(read, scores, 0).sum(axis=0)
    means = np.full(count.shape, np.nan)
    np.divide(sums, count, out=means, where=count > 0)
    return np.round(means, 9)


def wilcoxon(differences: np.ndarray) -> float:
    """Returns the two-sided p of the Wilcoxon signed-rank test.

    Exact without ties up to 50 cases, else as `scipy.stats.wilcoxon` decides; cases
    without a difference are left out.

    Reference:
        Wilcoxon 1945, doi:10.2307/3001968
    """
    from scipy.stats import wilcoxon as signed_rank

    differences = differences[np.abs(differences) > 1e-9]
    return float(signed_rank(differences).pvalue) if differences.size else 1.0


def _summary(ratings: Ratings, weights, roles) -> list[dict]:
    rows = []
    for c, criterion in enumerate(ratings.criteria):
        for a, arm in enumerate(ratings.arms):
            scores = ratings.scores[c, :, :, a]
            known = scores[~np.isnan(scores)]
            means = case_means(scores)
            rows.append(
                {
                    "method": arm,
                    "role": roles[arm],
                    "criterion": criterion,
                    "ratings": int(known.size),
                    "counts": [int((known == score).sum()) for score in range(1, 6)],
                    "median": float(np.median(known)),
                    "median_ci95": resampling.median_interval(scores, weights),
                    "quartiles": np.percentile(known, [25, 75]).tolist(),
                    "mean": float(np.nanmean(means)),
                    "mean_ci95": resampling.mean_interval(means, weights),
                }
            )
    return rows


def _friedman(ratings: Ratings) -> list[dict]:
    """Whether the methods differ at all: chi-squared and Kendall's W.

    Reference:
        Friedman 1937, doi:10.1080/01621459.1937.10503522
    """
    from scipy.stats import friedmanchisquare

    rows = []
    for c, criterion in enumerate(ratings.criteria):
        blocks = case_means(ratings.scores[c])
        blocks = blocks[~np.isnan(blocks).any(axis=1)]
        cases, arms = blocks.shape
        row = {"criterion": criterion, "cases": cases, "degrees": arms - 1}
        row["p_holm"] = None
        differ = bool((blocks != blocks[:, :1]).any())
        if cases < 2:
            row |= {"chi2": None, "p": None, "kendall_w": None}
        elif not differ:
            row |= {"chi2": 0.0, "p": 1.0, "kendall_w": 0.0}
        else:
            chi2, p = friedmanchisquare(*blocks.T)
            w = chi2 / (cases * (arms - 1))
            row |= {"chi2": float(chi2), "p": float(p), "kendall_w": float(w)}
        rows.append(row)
    tested = [row for row in rows if row["p"] is not None]
    for row, adjusted in zip(tested, holm([r["p"] for r in tested]), strict=True):
        row["p_holm"] = adjusted
    return rows


def _pairs(ratings: Ratings, weights, primary: Mapping) -> list[dict]:
    rows = []
    for c, criterion in enumerate(ratings.criteria):
        means = case_means(ratings.scores[c])
        within = []
        for one, other in itertools.combinations(range(len(ratings.arms)), 2):
            # What is hidden as a control comes first in the key: method - control.
            differences = means[:, other] - means[:, one]
            ci95 = resampling.mean_interval(differences, weights)
            known = differences[~np.isnan(differences)]
            row = {
                "method": ratings.arms[other],
                "versus": ratings.arms[one],
                "criterion": criterion,
                "cases": int(known.size),
                "mean_difference": float(known.mean()),
                "ci95": ci95,
                "p": wilcoxon(known),
            }
            if criterion == primary["criterion"] and row["versus"] == FULL_DOSE:
                row["non_inferior"] = bool(ci95 and ci95[0] > -primary["margin"])
            within.append(row)
        for row, p in zip(within, holm([row["p"] for row in within]), strict=True):
            row["p_holm_criterion"] = p
        rows += within
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = adjusted
    return rows


def _agreement(ratings: Ratings, weights) -> dict:
    """Agreement by criterion and over all of them."""
    # (readers, cases, ratings of a case)
    everything = np.concatenate(list(ratings.scores), axis=-1)
    again = np.concatenate(list(ratings.repeated), axis=-1)
    parts = {"all": (everything, again)}
    for c, criterion in enumerate(ratings.criteria):
        parts[criterion] = ratings.scores[c], ratings.repeated[c]
    document = {"inter": [], "intra": [], "alpha": []}
    for name, (first, second) in parts.items():
        head = {"criterion": name}
        inter = agreement.pair_agreement(ratings.readers, first, weights)
        intra = agreement.own_agreement(ratings.readers, first, second, weights)
        document["inter"] += [head | row for row in inter]
        document["intra"] += [head | row for row in intra]
        if len(ratings.readers) > 1:
            flat = first.reshape(len(ratings.readers), -1)
            document["alpha"].append(
                head
                | {
                    "alpha": agreement.krippendorff_alpha(flat),
                    "ci95": agreement.alpha_interval(first, weights),
                }
            )
    return document


def _findings(ratings: Ratings, weights) -> list[dict]:
    """How often a structure was said to appear or to be lost, by method."""
    rows = []
    for a, arm in enumerate(ratings.arms):
        row = {"method": arm}
        for q, question in enumerate(FINDINGS):
            means = case_means(ratings.findings[q, :, :, a])
            row[question] = float(np.nanmean(means))
            row[f"{question}_ci95"] = resampling.mean_interval(means, weights)
        rows.append(row)
    return rows


def _preference(ratings: Ratings, weights) -> list[dict]:
    """How often each method was the one that a reader would rather read."""
    rows = []
    for a, arm in enumerate(ratings.arms):
        means = case_means(ratings.preferred[:, :, a])
        rows.append(
            {
                "method": arm,
                "share": float(np.nanmean(means)),
                "ci95": resampling.mean_interval(means, weights),
            }
        )
    return rows
