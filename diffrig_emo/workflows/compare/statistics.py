"""Means with intervals, and paired tests of two systems on the same faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from diffrig_emo.metrics.functional.user_study import binomial_share

CONFIDENCE = 0.95
"""Of every interval."""
_RESAMPLES = 4999
Figures = NDArray[np.float64]


class Interval(NamedTuple):
    """A mean over faces, and where the mean over all such faces lies with 95 % confidence."""

    mean: float
    low: float
    high: float
    n: int
    """Faces that were measured."""


class PairedTest(NamedTuple):
    """How much one system's figures differ from another's on the same faces."""

    difference: Interval
    """Of the first minus the second, face by face."""
    p: float
    """Probability of such a difference, or a larger one to either side, were the two systems alike."""
    effect: float
    """Matched-pairs rank-biserial correlation, -1 to 1: 1 where the first is the higher one on every face."""
    test: str
    """Which test gave `p`."""


def mean_interval(values: Sequence[float] | Figures, is_share: bool = False, seed: int = 0) -> Interval:
    """Mean of per-face figures with a bootstrap interval of 95 % (BCa; Efron 1987).

    Args:
        values: a figure per face; what is not finite was not measured and does not count.
        is_share: the figures are 0 or 1, and the interval is Wilson's, which needs no resampling.
        seed: of the resampling.

    Returns:
        The mean; the bounds are NaN for fewer than two faces.

    Example:
        >>> mean_interval([2.0, 2.0, 2.0])
        Interval(mean=2.0, low=2.0, high=2.0, n=3)
        >>> interval = mean_interval([1, 0, 1, 1], is_share=True)
        >>> interval.mean, round(interval.low, 3), round(interval.high, 3)
        (0.75, 0.301, 0.954)
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    n = len(known)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    mean = float(known.mean())
    if is_share:
        share = binomial_share(int(known.sum()), n, CONFIDENCE)
        return Interval(mean, float(share.low), float(share.high), n)
    if n == 1:
        return Interval(mean, np.nan, np.nan, 1)
    if np.ptp(known) <= 1e-12 * max(1.0, abs(mean)):  # the bootstrap has no interval where nothing varies
        return Interval(mean, mean, mean, n)
    low, high = _bootstrap(known, "BCa", seed)
    if not (np.isfinite(low) and np.isfinite(high)):  # almost nothing varies
        low, high = _bootstrap(known, "percentile", seed)
    return Interval(mean, low, high, n)


def paired_test(
    first: Sequence[float] | Figures, second: Sequence[float] | Figures, is_share: bool = False, seed: int = 0
) -> PairedTest:
    """Compare two systems on the same faces.

    Wilcoxon's signed-rank test of the per-face differences (two-sided; equal faces do not count). For figures that are
    0 or 1 it is McNemar's exact test, a binomial test of the faces on which the systems differ. The effect is
    Kerby's (2014): ranks in favour of the first minus ranks in favour of the second, over all ranks.

    Args:
        first: a figure per face.
        second: the other system's figures of the same faces, in the same order.
        is_share: the figures are 0 or 1.
        seed: of the interval's resampling.

    Raises:
        ValueError: when the numbers of faces differ.

    Example:
        >>> test = paired_test([2.0, 3.5, 4.0, 5.5, 7.0, 8.0], [1.0, 2.0, 2.0, 3.0, 4.0, 4.5])
        >>> test.p, test.effect, test.difference.n  # all six for the first: 2 / 2**6
        (0.03125, 1.0, 6)
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"first and second: expected figures of the same faces, got {a.shape} and {b.shape}")
    known = np.isfinite(a) & np.isfinite(b)
    differences = a[known] - b[known]
    interval = mean_interval(differences, seed=seed)
    test = "McNemar, exact" if is_share else "Wilcoxon signed-rank"
    moved = differences[differences != 0]
    if not len(differences):
        return PairedTest(interval, np.nan, np.nan, test)
    if not len(moved):
        return PairedTest(interval, 1.0, 0.0, test)
    ranks = stats.rankdata(np.abs(moved))
    effect = float((np.sign(moved) * ranks).sum() / ranks.sum())
    if is_share:
        p = float(stats.binomtest(int((moved > 0).sum()), len(moved)).pvalue)
    else:
        p = float(stats.wilcoxon(moved).pvalue)
    return PairedTest(interval, min(1.0, p), effect, test)


def holm(p: Sequence[float]) -> list[float]:
    """Probabilities corrected for that many tests (Holm 1979): the chance of one false alarm among all is kept.

    Args:
        p: of each test; NaN where there was none, which does not count as one.

    Returns:
        Corrected probabilities in the same order, at most 1.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    given = np.asarray(p, dtype=np.float64)
    corrected = np.full(len(given), np.nan)
    known = np.flatnonzero(np.isfinite(given))
    order = known[np.argsort(given[known], kind="stable")]
    scaled = given[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(scaled)) if len(order) else []
    return [float(value) for value in corrected]


def _bootstrap(values: Figures, method: str, seed: int) -> tuple[float, float]:
    interval = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=max(1, 2**22 // len(values)),
        confidence_level=CONFIDENCE,
        method=method,
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)
