"""Means over patients, intervals and exact tests against brute force."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from ct_keras.errors import CtKerasError
from ct_keras.metrics import (
    auc,
    bootstrap_interval,
    compare,
    holm,
    patient_means,
    percentile_interval,
    resample_weights,
    sign_flip_p,
    smallest_p,
    summarize,
    wilcoxon_p,
)
from ct_keras.metrics.statistics import share_worse


def test_patients_count_equally_and_identical_slices_not_at_all():
    values = [30.0, 32.0, 34.0, math.inf, 40.0, math.nan]
    patients = ["a", "a", "a", "a", "b", "c"]
    assert patient_means(values, patients) == {"a": 32.0, "b": 40.0}
    found = summarize(values, patients)
    assert found["mean"] == 36
    assert found["sd"] == pytest.approx(math.sqrt(32))
    assert found["slice_mean"] == 34
    assert found["excluded"] == 1
    assert summarize([math.inf], ["a"])["mean"] == math.inf
    assert summarize([math.nan], ["a"])["mean"] is None


def test_bootstrap_interval():
    assert bootstrap_interval([3.0]) is None
    assert bootstrap_interval([2.0, 2.0, 2.0]) == (2, 2)
    values = np.random.default_rng(0).normal(5, 2, 200)
    low, high = bootstrap_interval(values, seed=3)
    half = 1.96 * values.std() / math.sqrt(200)
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)
    assert bootstrap_interval(values, seed=3) == (low, high)
    assert bootstrap_interval(values, seed=4) != (low, high)


@pytest.mark.parametrize("count", [1, 2, 5, 8, 11])
def test_sign_flips_equal_the_full_list(count):
    differences = np.random.default_rng(count).normal(0.4, 1, count)
    observed = abs(differences.sum()) - 1e-12
    flips = itertools.product([1, -1], repeat=count)
    brute = np.mean([abs(np.dot(signs, differences)) >= observed for signs in flips])
    assert sign_flip_p(differences) == brute


@pytest.mark.parametrize("count", [4, 5, 6, 7, 10])
def test_smallest_p_is_reached_when_all_patients_gain(count):
    differences = 1 + np.arange(count) / 10
    assert smallest_p(count) == pytest.approx(2 / 2**count)
    assert sign_flip_p(differences) == pytest.approx(smallest_p(count))
    assert wilcoxon_p(differences) == pytest.approx(smallest_p(count))


def test_tests_without_any_difference():
    assert sign_flip_p([0.0, 0.0]) == wilcoxon_p([0.0, 0.0]) == 1


def test_wilcoxon_known_value():
    # Signed ranks 1, 2, -3, 4, 5: W- = 3. Of the 32 sign patterns, those with W- <= 3
    # are {}, {1}, {2}, {3}, {1,2}: p = 2 * 5 / 32.
    assert wilcoxon_p([1, 2, -3, 4, 5]) == pytest.approx(10 / 32)
    # 14 of the 64 subsets of 1..6 have a sum of at most 6.
    assert wilcoxon_p([1, 2, 3, 4, 5, -6]) == pytest.approx(2 * 14 / 64)


@pytest.mark.parametrize(
    "differences",
    [
        [1, 1, 2, -1, 3, 3, 2],
        [0.5, -0.5, 0.5, 0.5, 0, 0],
        [2, 2, 2, 2],
        [1, -1, 2, 3, 3, -4, 5, 5],
    ],
)
def test_wilcoxon_with_ties_equals_the_full_list(differences):
    told = np.array([d for d in differences if d], float)
    ranks = scipy.stats.rankdata(np.abs(told))
    observed = abs(ranks @ np.sign(told))
    flips = itertools.product([1, -1], repeat=told.size)
    brute = np.mean([abs(np.dot(signs, ranks)) >= observed for signs in flips])
    assert wilcoxon_p(differences) == brute


def test_wilcoxon_with_ties_by_hand():
    assert wilcoxon_p([1, 1, 2, -1, 3, 3, 2]) == 0.0625


def test_differences_that_only_rounding_tells_apart_are_ties():
    noisy = [0.1 + 0.2, 0.3, -0.3, 0.4 - 0.1, 0.7 - 0.1, 1e-17]
    assert wilcoxon_p(noisy) == wilcoxon_p([1, 1, -1, 1, 2, 0])


def test_many_patients_flip_at_random_and_agree_with_the_normal_law():
    differences = np.random.default_rng(2).normal(0.25, 1, 60)
    z = abs(differences.sum()) / math.sqrt(np.square(differences).sum())
    assert sign_flip_p(differences) == pytest.approx(math.erfc(z / 2**0.5), abs=0.01)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


def test_compare_pairs_by_patient_not_by_order():
    found = compare({"a": 30.0, "b": 35.0}, {"b": 34.0, "a": 28.0, "c": 0.0})
    assert found["patients"] == 2
    assert found["mean_difference"] == 1.5
    assert found["smallest_p"] == 0.5
    with pytest.raises(CtKerasError, match="CTK-E084"):
        compare({"a": 1.0}, {"b": 1.0})


def test_share_worse():
    ours, theirs = [1.0, 2.0, math.inf, math.nan], [2.0, 1.0, 3.0, 1.0]
    assert share_worse(ours, theirs, higher_is_better=True) == pytest.approx(1 / 3)
    assert share_worse(ours, theirs, higher_is_better=False) == pytest.approx(2 / 3)
    assert share_worse([math.nan], [1.0], higher_is_better=True) is None


def test_auc_equals_another_implementation_with_ties_and_weights():
    generator = np.random.default_rng(5)
    present, absent = generator.integers(0, 6, 30), generator.integers(-2, 4, 40)
    ours, theirs = generator.integers(0, 4, (3, 30)), generator.integers(0, 4, (3, 40))
    truth = np.r_[np.ones(30), np.zeros(40)]
    scores = np.r_[present, absent]
    assert auc(present, absent) == pytest.approx(roc_auc_score(truth, scores))
    found = auc(present, absent, present_weights=ours, absent_weights=theirs)
    for each, weights in zip(found, np.c_[ours, theirs], strict=True):
        expected = roc_auc_score(truth, scores, sample_weight=weights)
        assert each == pytest.approx(expected, abs=1e-12)


def test_auc_counts_ties_half_and_needs_both_kinds():
    assert auc([1, 2, 2], [2, 0]) == pytest.approx((1 + 2 + 1) / 6)
    assert math.isnan(auc([1], [0], present_weights=np.zeros(1)))
    with pytest.raises(CtKerasError, match="CTK-E000"):
        auc([], [1.0])


def test_resamples_draw_as_many_patients_as_there_are():
    weights = resample_weights(7, seed=1, resamples=500)
    assert (weights.sum(axis=1) == 7).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.15)
    assert weights.var() == pytest.approx(6 / 7, abs=0.06)
    assert (resample_weights(7, seed=1, resamples=500) == weights).all()


def test_an_interval_needs_two_patients():
    values = np.r_[np.arange(101.0), math.nan]
    assert percentile_interval(values, patients=2) == pytest.approx((2.5, 97.5))
    assert percentile_interval(values, patients=1) is None
    assert percentile_interval(np.array([math.nan]), patients=9) is None
