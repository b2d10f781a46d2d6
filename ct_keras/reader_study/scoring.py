"""Computes medians, intervals, tests and agreement from unblinded answers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ct_keras.metrics.statistics import (
    CONFIDENCE,
    RESAMPLES,
    holm,
    mean_interval,
    resample_weights,
    wilcoxon_p,
)
from ct_keras.notice import NOTICE
from ct_keras.reader_study import agreement
from ct_keras.reader_study.answers import Ratings
from ct_keras.reader_study.criteria import (
    FEWEST_CASES,
    FEWEST_READERS,
    FINDINGS,
    FULL_DOSE,
    NORMAL_DOSE,
    SCORES,
)
from ct_keras.reader_study.resampling import by_patient, median_interval, vgc_area
from ct_keras.reader_study.study import design_remarks, primary_of


def score_study(key: Mapping, ratings: Ratings, *, seed: int = 0) -> dict:
    """Computes all results of a study.

    A patient's score of a method is the mean over readers, then over slices; tests and
    intervals are over patients. Repeated showings are used for intra-reader agreement
    only.

    Args:
        key: From `read_key`.
        ratings: From `unblind`.
        seed: Seed of the bootstrap.

    Returns:
        ``summary`` (one row per method and criterion), ``percent_of_normal_dose`` (one
        row per method, if that was asked), ``friedman`` (one per
        criterion), ``pairs`` (one per two methods and criterion), ``vgc`` (one per
        method and criterion, against the full dose), ``agreement``, ``findings``,
        ``preference``, ``marks``, ``design``. Undefined values are None; so is
        ``non_inferior`` with too few readers or patients for a conclusion.
    """
    marks, remarks = ratings.marks, ratings.remarks
    patients = [case["case"] for case in key["cases"]]
    ratings = _by_patient(ratings, patients)
    weights = resample_weights(len(set(patients)), seed=seed)
    roles = {arm["name"]: arm["role"] for arm in key["arms"]}
    return {
        "notice": NOTICE,
        "study": key["study"],
        "title": key["title"],
        "readers": list(ratings.readers),
        "minutes": {name: round(s / 60, 1) for name, s in ratings.seconds.items()},
        "cases": len(key["cases"]),
        "patients": len(set(patients)),
        "design": design_remarks(key, readers=len(ratings.readers)),
        "missing": ratings.missing,
        "statistics": {
            "interval": f"{CONFIDENCE:.0%} percentile bootstrap over patients",
            "resamples": RESAMPLES,
            "seed": seed,
            "tests": "Friedman and exact Wilcoxon signed-rank on the means over "
            "readers and slices of each patient, two-sided; Holm over all pairs and "
            "criteria",
            "kappa": "quadratic weights",
            "icc": "ICC(2,1) of a panel's sum of scores over the criteria",
            "vgc": "Mann-Whitney area of the pooled scores, ties half; 0.5 is equal",
        },
        "primary": primary_of(key),
        "summary": _summary(ratings, weights, roles),
        "percent_of_normal_dose": _percent(ratings, weights),
        "friedman": _friedman(ratings),
        "pairs": _pairs(ratings, weights, primary_of(key)),
        "vgc": _vgc(ratings, weights),
        "agreement": _agreement(ratings, weights),
        "findings": _findings(ratings, weights),
        "preference": _preference(ratings, weights),
        "marks": marks,
        "remarks": remarks,
    }


def patient_means(scores: np.ndarray) -> np.ndarray:
    """Returns the mean over readers, then over slices; NaN without any score.

    Args:
        scores: (readers, patients, slices, ...).
    """
    return _mean_of_first(np.moveaxis(_mean_of_first(scores), 1, 0))


def _summary(ratings: Ratings, weights, roles) -> list[dict]:
    rows = []
    for c, criterion in enumerate(ratings.criteria):
        for a, arm in enumerate(ratings.arms):
            scores = _of_patients(ratings.scores[c, ..., a])
            known = scores[~np.isnan(scores)]
            means = patient_means(ratings.scores[c, ..., a])
            rows.append(
                {
                    "method": arm,
                    "role": roles[arm],
                    "criterion": criterion,
                    "ratings": int(known.size),
                    "counts": [int((known == score).sum()) for score in SCORES],
                    "median": float(np.median(known)),
                    "median_ci95": median_interval(scores, weights),
                    "quartiles": np.percentile(known, [25, 75]).tolist(),
                    "mean": float(np.nanmean(means)),
                    "mean_ci95": mean_interval(means, weights),
                }
            )
    return rows


def _percent(ratings: Ratings, weights) -> list[dict]:
    """How good each method is in percent of the normal dose, by the readers."""
    rows = []
    if NORMAL_DOSE not in ratings.criteria:
        return rows
    percent = (ratings.scores[ratings.criteria.index(NORMAL_DOSE)] - SCORES[0]) * (
        100 / (SCORES[-1] - SCORES[0])
    )
    for a, arm in enumerate(ratings.arms):
        means = patient_means(percent[..., a])
        interval = mean_interval(means, weights)
        row = {"method": arm, "percent": float(np.nanmean(means)), "ci95": interval}
        rows.append(row)
    return rows


def _friedman(ratings: Ratings) -> list[dict]:
    """Friedman test of any difference between methods: chi-squared and Kendall's W.

    Reference:
        Friedman 1937, doi:10.1080/01621459.1937.10503522
    """
    from scipy.stats import friedmanchisquare

    rows = []
    for c, criterion in enumerate(ratings.criteria):
        blocks = patient_means(ratings.scores[c])
        blocks = blocks[~np.isnan(blocks).any(axis=1)]
        patients, arms = blocks.shape
        row = {"criterion": criterion, "patients": patients, "degrees": arms - 1}
        row["p_holm"] = None
        differ = bool((blocks != blocks[:, :1]).any())
        if patients < 2:
            row |= {"chi2": None, "p": None, "kendall_w": None}
        elif not differ:
            row |= {"chi2": 0.0, "p": 1.0, "kendall_w": 0.0}
        else:
            chi2, p = friedmanchisquare(*blocks.T)
            w = chi2 / (patients * (arms - 1))
            row |= {"chi2": float(chi2), "p": float(p), "kendall_w": float(w)}
        rows.append(row)
    tested = [row for row in rows if row["p"] is not None]
    for row, adjusted in zip(tested, holm([r["p"] for r in tested]), strict=True):
        row["p_holm"] = adjusted
    return rows


def _pairs(ratings: Ratings, weights, primary: Mapping | None) -> list[dict]:
    rows = []
    for c, criterion in enumerate(ratings.criteria):
        means = patient_means(ratings.scores[c])
        within = []
        for one, other in itertools.combinations(range(len(ratings.arms)), 2):
            # Control arms come first in the key, so differences are method - control.
            differences = means[:, other] - means[:, one]
            ci95 = mean_interval(differences, weights)
            known = differences[~np.isnan(differences)]
            row = {
                "method": ratings.arms[other],
                "versus": ratings.arms[one],
                "criterion": criterion,
                "patients": int(known.size),
                "mean_difference": float(known.mean()),
                "ci95": ci95,
                "p": wilcoxon_p(known),
            }
            asked = primary is not None and criterion == primary["criterion"]
            if asked and row["versus"] == FULL_DOSE:
                enough = known.size >= FEWEST_CASES
                enough = enough and len(ratings.readers) >= FEWEST_READERS
                row["non_inferior"] = ci95[0] > -primary["margin"] if enough else None
            within.append(row)
        for row, p in zip(within, holm([row["p"] for row in within]), strict=True):
            row["p_holm_criterion"] = p
        rows += within
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = adjusted
    return rows


def _agreement(ratings: Ratings, weights) -> dict:
    """Agreement by criterion and over all of them."""
    readers, patients = len(ratings.readers), weights.shape[1]

    def laid_out(scores: np.ndarray) -> np.ndarray:
        """(readers, patients, ratings of a patient) of one or all criteria."""
        first = np.moveaxis(scores, (-4, -3), (0, 1))
        return first.reshape(readers, patients, -1)

    parts = {"all": (laid_out(ratings.scores), laid_out(ratings.repeated))}
    for c, criterion in enumerate(ratings.criteria):
        parts[criterion] = laid_out(ratings.scores[c]), laid_out(ratings.repeated[c])
    document = {"inter": [], "intra": [], "alpha": [], "icc": None}
    for name, (first, second) in parts.items():
        head = {"criterion": name}
        inter = agreement.pair_agreement(ratings.readers, first, weights)
        intra = agreement.own_agreement(ratings.readers, first, second, weights)
        document["inter"] += [head | row for row in inter]
        document["intra"] += [head | row for row in intra]
        if readers > 1:
            flat = first.reshape(readers, -1)
            document["alpha"].append(
                head
                | {
                    "alpha": agreement.krippendorff_alpha(flat),
                    "ci95": agreement.alpha_interval(first, weights),
                }
            )
    if readers > 1:
        sums = laid_out(ratings.scores.sum(axis=0))
        flat = sums.reshape(readers, -1)
        document["icc"] = {
            "panels": int((~np.isnan(flat).any(axis=0)).sum()),
            "icc": agreement.icc(flat),
            "ci95": agreement.icc_interval(sums, weights),
        }
    return document


def _vgc(ratings: Ratings, weights) -> list[dict]:
    """VGC area of each method against the full dose."""
    reference = ratings.arms.index(FULL_DOSE)
    rows = []
    for c, criterion in enumerate(ratings.criteria):
        theirs = _of_patients(ratings.scores[c, ..., reference])
        for a, arm in enumerate(ratings.arms):
            if a == reference:
                continue
            ours = _of_patients(ratings.scores[c, ..., a])
            area, ci95 = vgc_area(ours, theirs, weights)
            row = {"method": arm, "versus": FULL_DOSE, "criterion": criterion}
            rows.append(row | {"area": area, "ci95": ci95})
    return rows


def _findings(ratings: Ratings, weights) -> list[dict]:
    """How often readers reported an added or a lost structure, by method."""
    rows = []
    for a, arm in enumerate(ratings.arms):
        row = {"method": arm}
        for q, question in enumerate(FINDINGS):
            means = patient_means(ratings.findings[q, ..., a])
            row[question] = float(np.nanmean(means))
            row[f"{question}_ci95"] = mean_interval(means, weights)
        rows.append(row)
    return rows


def _preference(ratings: Ratings, weights) -> list[dict]:
    """How often each method was preferred."""
    rows = []
    for a, arm in enumerate(ratings.arms):
        means = patient_means(ratings.preferred[..., a])
        rows.append(
            {
                "method": arm,
                "share": float(np.nanmean(means)),
                "ci95": mean_interval(means, weights),
            }
        )
    return rows


def _by_patient(ratings: Ratings, patients: Sequence[str]) -> Ratings:
    """The ratings with axes (patients, slices, arms) instead of (cases, arms)."""
    names = ("scores", "repeated", "findings", "preferred")
    return replace(
        ratings,
        **{name: by_patient(getattr(ratings, name), patients) for name in names},
    )


def _of_patients(scores: np.ndarray) -> np.ndarray:
    """(readers, patients, slices) -> (ratings of a patient, patients)."""
    return np.moveaxis(scores, 1, -1).reshape(-1, scores.shape[1])


def _mean_of_first(values: np.ndarray) -> np.ndarray:
    """The mean over the first axis, ignoring NaN.

    Rounded, so that the mean does not depend on the order of the readers.
    """
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    means = np.full(count.shape, np.nan)
    np.divide(np.where(known, values, 0).sum(axis=0), count, means, where=count > 0)
    return np.round(means, 9)
