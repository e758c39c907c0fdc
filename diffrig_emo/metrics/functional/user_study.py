"""What people chose: shares with intervals, strengths from comparisons in pairs, confusions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from scipy.sparse.csgraph import connected_components
from scipy.stats import binomtest, norm
from torch import Tensor


class Share(NamedTuple):
    """A share of choices and what it may be in truth."""

    successes: int
    """Choices that count."""
    trials: int
    """All choices."""
    rate: float
    """`successes / trials`; NaN of none."""
    low: float
    """Lower end of the interval, 0 to 1; 0 of none."""
    high: float
    """Upper end; 1 of none."""


class Strengths(NamedTuple):
    """Strengths of competitors after Bradley and Terry, in logits: their mean is 0."""

    strength: Float[Tensor, " n"]
    """i beats j with probability `sigmoid(strength[i] - strength[j])`."""
    low: Float[Tensor, " n"]
    """Lower end of the interval of each strength."""
    high: Float[Tensor, " n"]
    """Upper end."""
    covariance: Float[Tensor, "n n"]
    """Of the strengths; the variance of a difference is `c[i, i] + c[j, j] - 2 * c[i, j]`."""


def binomial_share(successes: int, trials: int, confidence: float = 0.95) -> Share:
    """A share with Wilson's score interval (1927), which also holds for few choices and for shares near 0 or 1.

    Choices count as independent of each other.

    Args:
        successes: choices that count.
        trials: all choices.
        confidence: how often such an interval holds the true share, between 0 and 1.

    Raises:
        ValueError: when `successes` is negative or above `trials`, or `confidence` is no probability.

    Example:
        >>> share = binomial_share(15, 20)
        >>> share.rate, round(share.low, 3), round(share.high, 3)
        (0.75, 0.531, 0.888)
    """
    _require_probability(confidence)
    if not 0 <= successes <= trials:
        raise ValueError(f"successes: expected 0 to trials = {trials}, got {successes}")
    if not trials:
        return Share(0, 0, float("nan"), 0.0, 1.0)
    interval = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Share(successes, trials, successes / trials, float(interval.low), float(interval.high))


def bradley_terry(
    wins: Shaped[Tensor, "n n"], confidence: float = 0.95, tolerance: float = 1e-10, max_iterations: int = 100_000
) -> Strengths:
    """Strengths of competitors from comparisons in pairs (Bradley and Terry, 1952), of largest likelihood.

    Found by the MM algorithm (Hunter, 2004, eq. 3). Intervals are those of the normal approximation, by the inverse of
    the Fisher information on strengths whose mean is 0. Comparisons count as independent. The model has no ties: half
    wins are refused, so leave ties out.

    Args:
        wins: how often the row's competitor beat the column's; 0 on the diagonal.
        confidence: of each strength's interval, between 0 and 1.
        tolerance: largest change of a strength in an iteration after which to stop, in logits.
        max_iterations: iterations after which to give up.

    Returns:
        Strengths in float64.

    Raises:
        ValueError: when `wins` is no square matrix of counts; when there is no finite answer, because some competitors
            never lost to the others or were never compared with them (see `comparable_groups`); or when it is not
            found.

    Example:
        >>> strengths = bradley_terry(torch.tensor([[0, 30], [10, 0]]))
        >>> probability = torch.sigmoid(strengths.strength[0] - strengths.strength[1])
        >>> round(probability.item(), 3), round(strengths.low[0].item(), 3)
        (0.75, 0.191)
    """
    _require_probability(confidence)
    groups = comparable_groups(wins)
    if len(groups) > 1:
        raise ValueError(
            f"wins: expected every group of competitors to have lost to the others at least once, else no finite "
            f"strengths fit; got the groups {groups}, best first"
        )
    counts = wins.double()
    games, won = counts + counts.T, counts.sum(dim=1)
    strength = torch.zeros(len(wins), dtype=torch.float64)
    for _ in range(max_iterations):
        gamma = strength.exp()
        updated = (won / (games / (gamma[:, None] + gamma)).sum(dim=1)).log() if len(wins) > 1 else strength
        updated = updated - updated.mean()
        change, strength = (updated - strength).abs().max(), updated
        if change <= tolerance:
            break
    else:
        raise ValueError(f"wins: no strengths found in {max_iterations} iterations, last change {change:.1g}")
    chance = torch.sigmoid(strength[:, None] - strength)
    weight = games * chance * (1 - chance)
    covariance = torch.linalg.pinv(weight.sum(dim=1).diag() - weight, hermitian=True)
    margin = norm.ppf(0.5 + confidence / 2) * covariance.diagonal().clamp(min=0).sqrt()
    return Strengths(strength, strength - margin, strength + margin, covariance)


def comparable_groups(wins: Shaped[Tensor, "n n"]) -> list[list[int]]:
    """Groups of competitors within which each has lost to each, directly or through others.

    Bradley and Terry's strengths are finite if there is one group (Ford, 1957).

    Args:
        wins: how often the row's competitor beat the column's.

    Returns:
        Numbers of the competitors of each group, the group with the largest share of wins first.

    Raises:
        ValueError: when `wins` is no square matrix of counts.

    Example:
        >>> comparable_groups(torch.tensor([[0, 0, 0], [5, 0, 2], [5, 1, 0]]))
        [[1, 2], [0]]
    """
    if wins.ndim != 2 or wins.shape[0] != wins.shape[1] or not len(wins):
        raise ValueError(f"wins: expected a square matrix, got shape {tuple(wins.shape)}")
    counts = wins.double()
    if not bool(counts.isfinite().all()) or bool((counts < 0).any()) or bool((counts != counts.round()).any()):
        raise ValueError("wins: expected whole numbers of wins; a tie is no half win: leave ties out")
    if bool(counts.diagonal().any()):
        raise ValueError("wins: expected zeros on the diagonal, for nobody competes with itself")
    _, group = connected_components(counts.numpy(), directed=True, connection="strong")
    groups = [[i for i in range(len(wins)) if group[i] == number] for number in sorted(set(group.tolist()))]
    won, played = counts.sum(dim=1), (counts + counts.T).sum(dim=1)
    return sorted(groups, key=lambda g: -float(won[g].sum() / played[g].sum().clamp(min=1)))


def choice_confusion(
    true: Int[Tensor, " answers"], chosen: Int[Tensor, " answers"], n_true: int, n_choices: int
) -> Int[Tensor, "n_true n_choices"]:
    """How often each choice (column) was made where another was true (row); there may be choices that never are.

    Args:
        true: what is true, 0 to `n_true - 1`.
        chosen: what was chosen, 0 to `n_choices - 1`.
        n_true: number of rows.
        n_choices: number of columns, at least `n_true`; the first ones mean what the rows do.

    Raises:
        ValueError: when lengths differ or a number is outside its range.

    Example:
        >>> choice_confusion(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 2]), n_true=2, n_choices=3)
        tensor([[1, 0, 0],
                [0, 1, 1]])
    """
    if true.ndim != 1 or true.shape != chosen.shape:
        raise ValueError(
            f"true and chosen: expected equal shapes (answers,), got {tuple(true.shape)} and {tuple(chosen.shape)}"
        )
    for name, numbers, limit in (("true", true, n_true), ("chosen", chosen, n_choices)):
        if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < limit:
            raise ValueError(f"{name}: expected 0 to {limit - 1}, got {numbers.tolist()[:8]}")
    return torch.bincount(true * n_choices + chosen, minlength=n_true * n_choices).reshape(n_true, n_choices)


def _require_probability(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a probability between 0 and 1, got {confidence}")
