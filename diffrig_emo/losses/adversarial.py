"""Losses of a critic and of what it judges, as plain functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def hinge_loss(real: Float[Tensor, ...], fake: Float[Tensor, ...]) -> Float[Tensor, ""]:
    """What a critic minimises: `(mean max(0, 1 - real) + mean max(0, 1 + fake)) / 2` (Lim and Ye 2017, eq. 4).

    Args:
        real: its verdicts on photographs.
        fake: its verdicts on what was made.

    Example:
        >>> hinge_loss(torch.tensor([2.0, 0.0]), torch.tensor([-1.0])).item()
        0.25
    """
    return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2


def adaptive_weight(
    kept: Float[Tensor, ""], adversarial: Float[Tensor, ""], weight: Tensor, most: float = 1e4
) -> Float[Tensor, ""]:
    """Factor that makes the adversarial loss pull the last layer as strongly as the reconstruction does.

    `|d kept / d weight| / (|d adversarial / d weight| + 1e-4)` (Esser et al. 2021, eq. 7), without gradient.

    Args:
        kept: reconstruction and perceptual loss.
        adversarial: the adversarial loss.
        weight: weights of the last layer that both depend on.
        most: the factor is clamped to this.

    Example:
        >>> weight = torch.ones(1, requires_grad=True)
        >>> round(adaptive_weight(4 * weight.sum(), 2 * weight.sum(), weight).item(), 3)
        2.0
    """
    (strong,) = torch.autograd.grad(kept, weight, retain_graph=True)
    (weak,) = torch.autograd.grad(adversarial, weight, retain_graph=True)
    weight_of_critic: Tensor = (strong.norm() / (weak.norm() + 1e-4)).clamp(0, most).detach()
    return weight_of_critic
