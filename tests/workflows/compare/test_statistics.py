import math

import numpy as np
import pytest
from scipy import stats

from diffrig_emo.workflows.compare.statistics import holm, mean_interval, paired_test


def test_the_interval_is_scipys_and_covers_the_true_mean_about_as_often_as_it_says():
    values = np.random.default_rng(1).gamma(2.0, size=25)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20000, method="BCa", random_state=np.random.default_rng(9))
    ours = mean_interval(values)
    assert ours.mean == pytest.approx(values.mean())
    spread = values.std(ddof=1) / math.sqrt(25)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.2 * spread)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.2 * spread)
    assert mean_interval(values) == ours  # the seed is fixed
    rng = np.random.default_rng(2)
    intervals = [mean_interval(rng.normal(3.0, 1.0, size=30)) for _ in range(40)]
    assert sum(i.low <= 3.0 <= i.high for i in intervals) >= 32  # of 38 expected


def test_a_large_samples_interval_is_that_of_the_normal_distribution():
    values = np.random.default_rng(3).normal(size=800)
    interval = mean_interval(values)
    half = 1.959964 * values.std(ddof=1) / math.sqrt(len(values))
    assert interval.high - interval.mean == pytest.approx(half, rel=0.1)
    assert interval.mean - interval.low == pytest.approx(half, rel=0.1)


def test_shares_get_wilsons_interval():
    p, n, z = 0.8, 10, 1.959964
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    interval = mean_interval([1.0] * 8 + [0.0] * 2, is_share=True)
    assert (interval.mean, interval.n) == (0.8, 10)
    assert interval.low == pytest.approx(middle - half, abs=1e-6)
    assert interval.high == pytest.approx(middle + half, abs=1e-6)


def test_what_was_not_measured_does_not_count():
    interval = mean_interval([1.0, math.nan, 3.0, math.inf])
    assert (interval.mean, interval.n) == (2.0, 2)
    assert mean_interval([math.nan]).n == 0
    single = mean_interval([4.0, math.nan])
    assert single.mean == 4.0
    assert math.isnan(single.low)


def test_signed_ranks_agree_with_scipy_and_with_counting_signs():
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=12), rng.normal(0.4, size=12)
    test = paired_test(a, b)
    assert test.p == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert test.difference.mean == pytest.approx(np.mean(a - b))
    # Every difference to one side: both extremes of 2^n signs.
    assert paired_test(b + np.arange(1, 13) / 7, b).p == pytest.approx(2 / 2**12)


def test_the_effect_is_the_difference_of_rank_sums():
    differences = np.array([3.0, -1.0, 2.0, 4.0])  # ranks 3, 1, 2, 4
    test = paired_test(differences, np.zeros(4))
    assert test.effect == pytest.approx((3 + 2 + 4 - 1) / 10)
    assert paired_test(np.zeros(4), differences).effect == pytest.approx(-0.8)
    assert paired_test([1.0, 2.0], [1.0, 2.0])[1:3] == (1.0, 0.0)


def test_shares_are_compared_by_mcnemars_exact_test():
    first = np.array([1] * 9 + [0] * 1 + [1] * 20, dtype=float)
    second = np.array([0] * 9 + [1] * 1 + [1] * 20, dtype=float)
    test = paired_test(first, second, is_share=True)
    assert test.test.startswith("McNemar")
    assert test.p == pytest.approx(2 * (1 + 10) / 2**10)  # 0 or 1 of 10 by chance, on either side
    assert test.effect == pytest.approx(0.8)


def test_only_faces_that_both_measured_are_paired():
    test = paired_test([1.0, math.nan, 3.0, 9.0], [0.0, 5.0, 1.0, math.nan])
    assert (test.difference.n, test.difference.mean) == (2, 1.5)
    assert math.isnan(paired_test([math.nan], [1.0]).p)
    with pytest.raises(ValueError, match="same faces"):
        paired_test([1.0], [1.0, 2.0])


def test_holms_correction_by_its_definition():
    p = [0.001, 0.2, math.nan, 0.012, 0.012, 0.9]
    # sorted: .001*5, .012*4, .012*3 -> kept at .048, .2*2, .9*1
    assert holm(p) == pytest.approx([0.005, 0.4, math.nan, 0.048, 0.048, 0.9], nan_ok=True)
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
