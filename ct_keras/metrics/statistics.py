"""Means over patients, their confidence intervals, and paired tests.

Slices of one patient are not independent, so every mean is taken per patient first and
then over patients. With few patients no test can reach a small p; the smallest that it
could reach is always given beside the one that it did.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ct_keras.errors import CtKerasError

RESAMPLES = 10_000
CONFIDENCE = 0.95
#: Below this a confidence interval over patients is marked as resting on too few.
FEWEST_PATIENTS = 6
#: The sign-flip test lists all 2^n flips up to this many patients.
EXACT_PATIENTS = 40
RANDOM_FLIPS = 100_000


def patient_means(values: Sequence[float], patients: Sequence[str]) -> dict[str, float]:
    """Averages slices per patient, leaving out values that are not finite.

    Args:
        values: One per slice.
        patients: The patient of every slice.

    Returns:
        Patient -> mean, in order of first appearance; patients without a finite value
        are absent.
    """
    gathered: dict[str, list[float]] = {}
    for value, patient in zip(values, patients, strict=True):
        if math.isfinite(value):
            gathered.setdefault(patient, []).append(value)
    return {patient: float(np.mean(found)) for patient, found in gathered.items()}


def bootstrap_interval(
    values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """Returns the percentile bootstrap interval of a mean.

    Args:
        values: One per patient.
        seed: Of the resampling; the same seed gives the same interval.
        resamples: How often the patients are drawn with replacement.

    Returns:
        Lower and upper end at 95 %, or None for fewer than two patients.
    """
    values = np.asarray(values, np.float64)
    if values.size < 2:
        return None
    drawn = np.random.default_rng(seed).integers(
        0, values.size, size=(resamples, values.size)
    )
    means = values[drawn].mean(axis=1)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def summarize(
    values: Sequence[float], patients: Sequence[str], *, seed: int = 0
) -> dict:
    """Summarizes one metric over slices and patients.

    Args:
        values: One per slice.
        patients: The patient of every slice.
        seed: Of the bootstrap.

    Returns:
        ``mean`` over patients of the patients' means, ``sd`` over patients (n - 1),
        ``ci95``, ``slice_mean`` over all slices, ``excluded``: the number of slices
        whose value is infinite. What does not exist is None, except that a mean
        of nothing but identical pairs is inf.
    """
    means = list(patient_means(values, patients).values())
    finite = [value for value in values if math.isfinite(value)]
    infinite = sum(1 for value in values if math.isinf(value))
    nothing = math.inf if infinite else None
    return {
        "mean": float(np.mean(means)) if means else nothing,
        "sd": float(np.std(means, ddof=1)) if len(means) > 1 else None,
        "ci95": bootstrap_interval(means, seed=seed),
        "slice_mean": float(np.mean(finite)) if finite else nothing,
        "excluded": infinite,
    }


def smallest_p(patients: int) -> float:
    """Returns the smallest two-sided p that n paired differences can reach.

    Example:
        >>> smallest_p(5)
        0.0625
    """
    return min(1.0, 2.0 / 2.0**patients)


def wilcoxon_p(differences: Sequence[float]) -> float:
    """Returns the exact two-sided p of the Wilcoxon signed-rank test.

    Args:
        differences: One per patient; zeros are left out.

    Reference:
        Wilcoxon 1945, doi:10.2307/3001968
    """
    from scipy.stats import wilcoxon

    differences = np.asarray(differences, np.float64)
    differences = differences[differences != 0]
    if differences.size == 0:
        return 1.0
    return float(wilcoxon(differences, method="exact").pvalue)


def sign_flip_p(differences: Sequence[float], *, seed: int = 0) -> float:
    """Returns the two-sided p of the sign-flip permutation test of a mean of 0.

    All 2^n flips are counted, by matching the sums of two halves; above 40 patients
    100,000 random flips stand for them.

    Args:
        differences: One per patient.
        seed: Of the random flips.

    Returns:
        The share of flips whose sum is at least as far from 0 as the observed one.
    """
    differences = np.asarray(differences, np.float64)
    count = differences.size
    if count == 0:
        return 1.0
    size = np.abs(differences).sum()
    observed = abs(differences.sum()) - 1e-12 * size
    if count > EXACT_PATIENTS:
        return _random_flips_p(differences, observed, seed)
    one = _flip_sums(differences[: count // 2])
    other = np.sort(_flip_sums(differences[count // 2 :]))
    above = other.size - np.searchsorted(other, observed - one, side="left")
    below = np.searchsorted(other, -observed - one, side="right")
    if observed <= 0:
        return 1.0
    return float((above.sum() + below.sum()) / 2.0**count)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p values for the number of tests, by the step-down of Holm.

    Args:
        p_values: One per test of a family.

    Returns:
        The adjusted values in the same order.

    Reference:
        Holm 1979, https://www.jstor.org/stable/4615733
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, highest)
    return adjusted.tolist()


def compare(
    ours: Mapping[str, float], theirs: Mapping[str, float], *, seed: int = 0
) -> dict:
    """Tests one metric of two models on the same patients.

    Args:
        ours: Patient -> mean of the model.
        theirs: Patient -> mean of what it is compared with.
        seed: Of the bootstrap.

    Returns:
        ``patients`` in both, ``mean_difference`` (ours - theirs) with its ``ci95``,
        ``wilcoxon_p``, ``sign_flip_p``, ``smallest_p``.

    Raises:
        CtKerasError: CTK-E084, if no patient has a value in both.
    """
    both = [patient for patient in ours if patient in theirs]
    if not both:
        raise CtKerasError("CTK-E084", "no patient has a value of both models")
    differences = np.array([ours[name] - theirs[name] for name in both])
    return {
        "patients": len(both),
        "mean_difference": float(differences.mean()),
        "ci95": bootstrap_interval(differences, seed=seed),
        "wilcoxon_p": wilcoxon_p(differences),
        "sign_flip_p": sign_flip_p(differences, seed=seed),
        "smallest_p": smallest_p(len(both)),
    }


def share_worse(
    ours: Sequence[float], theirs: Sequence[float], *, higher_is_better: bool
) -> float | None:
    """Returns the share of pairs in which ours is worse, or None without a pair.

    Args:
        ours: One value per slice or patient.
        theirs: The same slices or patients; a pair with NaN does not count.
        higher_is_better: True for PSNR and SSIM, False for RMSE.
    """
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    comparable = ~(np.isnan(ours) | np.isnan(theirs))
    if not comparable.any():
        return None
    worse = ours < theirs if higher_is_better else ours > theirs
    return float(np.mean(worse[comparable]))


def _flip_sums(differences: np.ndarray) -> np.ndarray:
    """The sums of all 2^n ways to sign the differences."""
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    return sums


def _random_flips_p(differences: np.ndarray, observed: float, seed: int) -> float:
    generator = np.random.default_rng(seed)
    extreme = 1  # the observed signs are one of the flips
    for _ in range(RANDOM_FLIPS // 1000):
        signs = generator.choice([-1.0, 1.0], size=(1000, differences.size))
        extreme += int(np.count_nonzero(np.abs(signs @ differences) >= observed))
    return extreme / (RANDOM_FLIPS + 1)
