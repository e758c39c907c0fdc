"""How well predicted valence and arousal agree with annotated ones, as training losses.

Legend: `cov`, `var` and `mean` over the faces of a batch that are annotated, per column:

    Pearson     PCC = cov(p, t) / sqrt(var(p) var(t))
    concordance CCC = 2 cov(p, t) / (var(p) + var(t) + (mean(p) - mean(t))^2)

Unlike PCC, CCC also falls when predictions are shifted or scaled.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

_SMALL = 1e-6
"""Keeps ratios and their gradients finite where all faces of a batch have the same value."""


def concordance_loss(pred: Float[Tensor, "batch dims"], target: Float[Tensor, "batch dims"]) -> Float[Tensor, ""]:
    """Mean of 1 - CCC over the columns (Lin, "A concordance correlation coefficient", 1989, equation 2).

    Args:
        pred: predicted values.
        target: annotated values; rows with a NaN do not count.

    Returns:
        Between 0 (equal) and 2; 0, with a gradient of 0, when fewer than two rows are annotated.

    Raises:
        ValueError: when the shapes differ.

    Example:
        >>> import torch
        >>> target = torch.tensor([[0.1], [0.5], [-0.3]])
        >>> round(concordance_loss(target, target).item(), 4), round(concordance_loss(-target, target).item(), 2)
        (0.0, 1.84)
    """
    moments = _moments(pred, target)
    if moments is None:
        return pred.sum() * 0
    ccc = 2 * moments.cov / (moments.var_pred + moments.var_target + moments.shift.square() + _SMALL)
    return (1 - ccc).mean()


def correlation_loss(pred: Float[Tensor, "batch dims"], target: Float[Tensor, "batch dims"]) -> Float[Tensor, ""]:
    """Mean of 1 - PCC over the columns; arguments and result as for `concordance_loss`.

    Example:
        >>> import torch
        >>> target = torch.tensor([[0.1], [0.5], [-0.3]])
        >>> round(correlation_loss(0.5 * target + 0.2, target).item(), 3)
        0.0
    """
    moments = _moments(pred, target)
    if moments is None:
        return pred.sum() * 0
    # Of each variance, because the root of their product has no gradient at 0.
    spread = (moments.var_pred + _SMALL).sqrt() * (moments.var_target + _SMALL).sqrt()
    return (1 - moments.cov / spread).mean()


def annotated(target: Float[Tensor, "batch dims"]) -> Bool[Tensor, " batch"]:
    """Which rows have no NaN.

    Example:
        >>> import torch
        >>> annotated(torch.tensor([[0.1, 0.2], [float("nan"), 0.2]])).tolist()
        [True, False]
    """
    return ~target.isnan().any(dim=1)


class _Moments(NamedTuple):
    cov: Tensor
    var_pred: Tensor
    var_target: Tensor
    shift: Tensor


def _moments(pred: Tensor, target: Tensor) -> _Moments | None:
    if pred.ndim != 2 or pred.shape != target.shape:
        raise ValueError(
            f"pred and target: expected equal shapes (batch, dims), got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    known = annotated(target)
    if known.sum() < 2:
        return None
    # Half precision has too few digits for variances.
    pred, target = pred[known].float(), target[known].float()
    p, t = pred - pred.mean(dim=0), target - target.mean(dim=0)
    shift = pred.mean(dim=0) - target.mean(dim=0)
    return _Moments((p * t).mean(dim=0), p.square().mean(dim=0), t.square().mean(dim=0), shift)
