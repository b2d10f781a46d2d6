"""Means over patients, their confidence intervals, and paired tests.

Slices of one patient are not independent, so means are taken per patient first, then
over patients. With few patients, no test can reach a small p, so the smallest possible
p is always reported with the p of the test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ct_keras.errors import CtKerasError

RESAMPLES = 10_000
CONFIDENCE = 0.95
#: With fewer patients, a confidence interval is marked as based on too few.
FEWEST_PATIENTS = 6
#: The sign-flip test enumerates all 2^n flips up to this many patients.
EXACT_PATIENTS = 40
RANDOM_FLIPS = 100_000


def patient_means(values: Sequence[float], patients: Sequence[str]) -> dict[str, float]:
    """Averages slices per patient, ignoring values that are not finite.

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


def resample_weights(
    patients: int, *, seed: int, resamples: int = RESAMPLES
) -> np.ndarray:
    """Draws patients with replacement.

    Slices of one patient are not independent, so all slices of a patient are drawn
    together. With the same seed, all measures use the same draws.

    Args:
        patients: Number of patients.
        seed: The same seed gives the same draws.
        resamples: Number of resamples.

    Returns:
        How often each patient was drawn, float64 (resamples, patients).
    """
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, patients, size=(resamples, patients))
    places = drawn + patients * np.arange(resamples)[:, None]
    counts = np.bincount(places.ravel(), minlength=resamples * patients)
    return counts.reshape(resamples, patients).astype(np.float64)


def percentile_interval(
    values: np.ndarray, *, patients: int
) -> tuple[float, float] | None:
    """Returns the 95 % interval between the percentiles of bootstrap values.

    Args:
        values: One per resample; NaN (no value in a resample) is ignored.
        patients: Number of independent units that were resampled.

    Returns:
        Lower and upper end, or None for fewer than two patients or no value.
    """
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    if patients < 2 or not known.size:
        return None
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(known, [tail, 100 - tail])
    return float(low), float(high)


def mean_interval(
    values: Sequence[float], weights: np.ndarray
) -> tuple[float, float] | None:
    """Returns the bootstrap interval of a mean over patients.

    Args:
        values: One per patient; NaN is ignored.
        weights: (resamples, patients), see `resample_weights`.

    Returns:
        Lower and upper end at 95 %, or None for fewer than two patients.
    """
    values = np.asarray(values, np.float64)
    known = ~np.isnan(values)
    drawn = weights[:, known].sum(axis=1)
    sums = weights[:, known] @ values[known]
    means = np.divide(sums, drawn, out=np.full(len(sums), np.nan), where=drawn > 0)
    return percentile_interval(means, patients=int(known.sum()))


def bootstrap_interval(
    values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """Returns the percentile bootstrap interval of a mean.

    Args:
        values: One per patient.
        seed: Seed of the resampling; the same seed gives the same interval.
        resamples: How often the patients are drawn with replacement.

    Returns:
        Lower and upper end at 95 %, or None for fewer than two patients.
    """
    if len(values) < 2:
        return None
    weights = resample_weights(len(values), seed=seed, resamples=resamples)
    return mean_interval(values, weights)


def auc(
    present: np.ndarray,
    absent: np.ndarray,
    *,
    present_weights: np.ndarray | None = None,
    absent_weights: np.ndarray | None = None,
) -> float | np.ndarray:
    """Returns the area under the ROC curve (Mann-Whitney statistic).

    It is the share of (present, absent) pairs in which the present one has the higher
    score; ties count half.

    Args:
        present: Scores with the signal, (..., n); higher means present.
        absent: Scores without the signal, (..., m).
        present_weights: Weight of each, (..., n); None for 1.
        absent_weights: The same, (..., m).

    Returns:
        A number, or an array of the leading axes; NaN if no pair has a weight.

    Raises:
        CtKerasError: CTK-E000, if one of the two classes is empty.

    Reference:
        Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747

    Example:
        >>> auc([0.35, 0.8], [0.1, 0.4])
        0.75
    """
    present, absent = np.asarray(present), np.asarray(absent)
    if not present.size or not absent.size:
        raise CtKerasError(
            "CTK-E000",
            "an ROC curve needs both classes",
            received=f"{present.size} present, {absent.size} absent",
        )
    ones = [np.ones(scores.shape[-1]) for scores in (present, absent)]
    ours = ones[0] if present_weights is None else np.asarray(present_weights)
    theirs = ones[1] if absent_weights is None else np.asarray(absent_weights)
    left, right = present[..., :, None], absent[..., None, :]
    ordered = (left > right) + 0.5 * (left == right)
    won = (np.einsum("...i,...ij->...j", ours, ordered) * theirs).sum(axis=-1)
    pairs = ours.sum(axis=-1) * theirs.sum(axis=-1)
    area = np.divide(won, pairs, out=np.full(won.shape, np.nan), where=pairs > 0)
    return area if area.ndim else float(area)


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
        with an infinite value. Undefined values are None, except that a mean over
        identical pairs only is inf.
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


def wilcoxon_p(differences: Sequence[float], *, seed: int = 0) -> float:
    """Returns the two-sided p of the Wilcoxon signed-rank test, exact with ties.

    It is the sign-flip test of the signed ranks, with mean ranks for ties, so it is
    exact up to 40 patients.

    Args:
        differences: One per patient; zeros are left out. Values that differ by less
            than a billionth of the largest (rounding errors) are treated as ties.
        seed: Of the random flips above 40 patients.

    Reference:
        Wilcoxon 1945, doi:10.2307/3001968; Pratt and Gibbons 1981, Concepts of
        Nonparametric Theory, section 3.7, for ties
    """
    from scipy.stats import rankdata

    differences = np.asarray(differences, np.float64)
    largest = np.abs(differences).max(initial=0.0)
    if largest == 0:
        return 1.0
    sizes = np.round(np.abs(differences) / largest, 9)
    nonzero = sizes > 0
    ranks = rankdata(sizes[nonzero]) * np.sign(differences[nonzero])
    return sign_flip_p(ranks, seed=seed)


def sign_flip_p(differences: Sequence[float], *, seed: int = 0) -> float:
    """Returns the two-sided p of the sign-flip permutation test of a mean of 0.

    All 2^n flips are counted, by combining the sums of two halves; above 40 patients,
    100,000 random flips are used instead.

    Args:
        differences: One per patient.
        seed: Of the random flips.

    Returns:
        The share of flips whose absolute sum is at least the observed one.
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
    """Adjusts p values for multiple tests by Holm's step-down procedure.

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
        theirs: Patient -> mean of the model it is compared with.
        seed: Of the bootstrap.

    Returns:
        ``patients`` in both, ``mean_difference`` (ours - theirs) with its ``ci95``,
        ``wilcoxon_p``, ``sign_flip_p``, ``smallest_p``.

    Raises:
        CtKerasError: CTK-E084, if no patient has a value in both.
    """
    both = [patient for patient in ours if patient in theirs]
    if not both:
        raise CtKerasError("CTK-E084", "no patient has a value for both models")
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
    """Returns the share of pairs in which ours is worse, or None without any pair.

    Args:
        ours: One value per slice or patient.
        theirs: The same slices or patients; pairs with NaN are ignored.
        higher_is_better: True for PSNR and SSIM, False for RMSE.
    """
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    comparable = ~(np.isnan(ours) | np.isnan(theirs))
    if not comparable.any():
        return None
    worse = ours < theirs if higher_is_better else ours > theirs
    return float(np.mean(worse[comparable]))


def _flip_sums(differences: np.ndarray) -> np.ndarray:
    """The sums of the differences with all 2^n combinations of signs."""
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
