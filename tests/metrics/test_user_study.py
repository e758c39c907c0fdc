"""Against closed forms, scipy's own intervals and a logistic regression that scipy's optimiser fits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import optimize, special, stats
from torchmetrics.classification import MulticlassConfusionMatrix

from diffrig_emo.metrics.functional import (
    binomial_share,
    bradley_terry,
    choice_confusion,
    comparable_groups,
)


@pytest.mark.parametrize(("count", "total"), [(0, 7), (3, 7), (7, 7), (130, 200)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_is_wilsons(count, total, confidence):
    """Its ends are the shares p at which (count / total - p)² is z² p (1 - p) / total."""
    share = binomial_share(count, total, confidence)
    rate, z2 = count / total, stats.norm.ppf(0.5 + confidence / 2) ** 2
    low, high = sorted(np.roots([1 + z2 / total, -2 * rate - z2 / total, rate**2]).real)
    assert share[:3] == (count, total, rate)
    assert share[3:] == pytest.approx((low, high), abs=1e-7)
    interval = stats.binomtest(count, total).proportion_ci(confidence, method="wilson")
    assert share[3:] == pytest.approx((interval.low, interval.high))
    exact = stats.binomtest(count, total).proportion_ci(confidence, method="exact")
    assert share.low >= exact.low - 1e-9  # Clopper and Pearson's is never shorter
    assert share.high <= exact.high + 1e-9


def test_intervals_hold_the_true_share_as_often_as_they_say():
    total, truth = 40, 0.3
    counts = np.arange(total + 1)
    shares = [binomial_share(int(k), total) for k in counts]
    holds = np.array([s.low <= truth <= s.high for s in shares])
    assert stats.binom.pmf(counts, total, truth)[holds].sum() == pytest.approx(0.95, abs=0.02)


def test_no_choices_say_nothing():
    share = binomial_share(0, 0)
    assert math.isnan(share.rate)
    assert share[3:] == (0, 1)


def test_bad_shares_are_named():
    with pytest.raises(ValueError, match="successes: expected 0 to trials = 3, got 4"):
        binomial_share(4, 3)
    with pytest.raises(ValueError, match="confidence: expected a probability between 0 and 1, got 95"):
        binomial_share(1, 3, 95)


def test_two_players_in_closed_form():
    """The log odds of the wins, whose variance is the sum of the reciprocal counts."""
    strengths = bradley_terry(torch.tensor([[0, 17], [5, 0]]), confidence=0.9)
    difference = math.log(17 / 5)
    torch.testing.assert_close(strengths.strength, torch.tensor([difference / 2, -difference / 2]).double())
    c = strengths.covariance
    assert float(c[0, 0] + c[1, 1] - 2 * c[0, 1]) == pytest.approx(1 / 17 + 1 / 5)
    margin = stats.norm.ppf(0.95) * math.sqrt(1 / 17 + 1 / 5) / 2
    torch.testing.assert_close(strengths.high - strengths.strength, torch.full((2,), margin).double())
    torch.testing.assert_close(strengths.strength - strengths.low, torch.full((2,), margin).double())


def _games(n, total, seed):
    """Wins between players of known strength, not all of them compared."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(scale=0.7, size=n)
    wins = np.zeros((n, n), int)
    for i in range(n):
        for j in range(i):
            if (i + j) % 3 or i - j == 1:
                played = int(rng.integers(total // 2, total))
                wins[i, j] = rng.binomial(played, special.expit(truth[i] - truth[j]))
                wins[j, i] = played - wins[i, j]
    return wins, truth - truth.mean()


@pytest.mark.parametrize("n", [2, 3, 6])
def test_strengths_are_those_of_a_logistic_regression(n):
    """One row per pair, +1 for the winner and -1 for the loser: scipy's optimum, autograd's curvature there."""
    wins, _ = _games(n, 150, seed=n)
    i, j = np.nonzero(wins)
    design = np.zeros((len(i), n))
    design[np.arange(len(i)), i], design[np.arange(len(i)), j] = 1, -1
    design = design @ np.vstack([np.eye(n - 1), -np.ones(n - 1)])  # the last strength makes their sum 0

    def loss(x):
        return -(wins[i, j] * special.log_expit(design @ x)).sum()

    def loss_in_torch(x):
        return -(torch.from_numpy(wins[i, j]) * torch.nn.functional.logsigmoid(torch.from_numpy(design) @ x)).sum()

    fit = optimize.minimize(loss, np.zeros(n - 1), method="BFGS", options={"gtol": 1e-4})
    strengths = bradley_terry(torch.from_numpy(wins))
    np.testing.assert_allclose(strengths.strength[:-1], fit.x, atol=1e-5)
    assert strengths.strength.sum() == pytest.approx(0, abs=1e-9)
    curvature = torch.autograd.functional.hessian(loss_in_torch, torch.from_numpy(fit.x))
    torch.testing.assert_close(strengths.covariance[:-1, :-1], curvature.inverse(), atol=1e-6, rtol=1e-4)


def test_intervals_hold_the_true_strengths():
    hits = []
    for seed in range(60):
        wins, truth = _games(4, 60, seed)
        if len(comparable_groups(torch.from_numpy(wins))) == 1:
            strengths = bradley_terry(torch.from_numpy(wins))
            hits += ((strengths.low.numpy() <= truth) & (truth <= strengths.high.numpy())).tolist()
    assert len(hits) > 200
    assert 0.91 < np.mean(hits) < 0.99


def test_what_has_no_finite_strengths_is_refused():
    never_lost = torch.tensor([[0, 4, 4], [0, 0, 3], [0, 2, 0]])
    assert comparable_groups(never_lost) == [[0], [1, 2]]
    with pytest.raises(ValueError, match=r"no finite strengths fit; got the groups \[\[0\], \[1, 2\]\], best first"):
        bradley_terry(never_lost)
    apart = torch.block_diag(torch.ones(2, 2) - torch.eye(2), torch.ones(2, 2) - torch.eye(2))
    assert len(comparable_groups(apart)) == 2


def test_ties_and_nonsense_are_refused():
    with pytest.raises(ValueError, match="a tie is no half win"):
        bradley_terry(torch.tensor([[0, 1.5], [2.5, 0]]))
    with pytest.raises(ValueError, match="whole numbers"):
        bradley_terry(torch.tensor([[0, -1], [2, 0]]))
    with pytest.raises(ValueError, match="zeros on the diagonal"):
        bradley_terry(torch.tensor([[1, 1], [2, 0]]))
    with pytest.raises(ValueError, match=r"square matrix, got shape \(2, 3\)"):
        bradley_terry(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="no strengths found in 2 iterations"):
        bradley_terry(torch.tensor([[0, 9, 1], [1, 0, 9], [3, 1, 0]]), max_iterations=2)


def test_confusion_is_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    true, chosen = (torch.randint(0, n, (300,), generator=generator) for n in (8, 9))
    confusion = choice_confusion(true, chosen, 8, 9)
    torch.testing.assert_close(confusion, MulticlassConfusionMatrix(9)(chosen, true)[:8])


def test_bad_choices_are_named():
    with pytest.raises(ValueError, match="true: expected 0 to 7, got \\[8\\]"):
        choice_confusion(torch.tensor([8]), torch.tensor([8]), 8, 9)
    with pytest.raises(ValueError, match=r"expected equal shapes \(answers,\), got \(1,\) and \(2,\)"):
        choice_confusion(torch.tensor([1]), torch.tensor([1, 2]), 8, 9)
