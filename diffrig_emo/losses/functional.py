"""Losses of the denoiser, and their weights over the noise levels, as plain functions.

Legend: `SNR = alphas_cumprod / (1 - alphas_cumprod)`, signal-to-noise ratio of a noise level. The three
predictions are linear in each other at a given x_t, so their squared errors differ by a factor of SNR alone:

    |eps error|^2 = SNR |x_0 error|^2 = SNR / (1 + SNR) |v error|^2

A weight that was published for one prediction is carried over to the others by these factors, so that the
objective stays the same whatever the network predicts.
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

PredictionType = Literal["eps", "v", "x_0"]
"""What a denoiser's output means: the noise, the velocity `sqrt(a) eps - sqrt(1 - a) x_0`, or the clean picture."""


def denoising_loss(
    prediction: Float[Tensor, "batch ..."],
    target: Float[Tensor, "batch ..."],
    weight: Float[Tensor, " batch"] | None = None,
) -> Float[Tensor, " batch"]:
    """Mean squared error of each sample, times its weight.

    Args:
        prediction: the denoiser's output, of any prediction type.
        target: what it should have been (`NoiseSchedule.target`).
        weight: one factor per sample, for instance `p2_weight`.

    Returns:
        One loss per sample; take their mean to train.

    Raises:
        ValueError: when prediction and target differ in shape (they are never broadcast).

    Example:
        >>> import torch
        >>> denoising_loss(torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), torch.tensor([1.0, 0.5])).tolist()
        [1.0, 0.5]
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction has shape {tuple(prediction.shape)}, but target {tuple(target.shape)}")
    loss = (prediction - target).square().flatten(1).mean(dim=1)
    return loss if weight is None else loss * weight


def p2_weight(
    snr: Float[Tensor, " batch"], gamma: float = 1.0, k: float = 1.0, prediction_type: PredictionType = "eps"
) -> Float[Tensor, " batch"]:
    """Perception-prioritised weight `1 / (k + SNR)^gamma` of the epsilon loss (Choi et al. 2022, eq. 8).

    With gamma = k = 1, DiffusionRig's choice, it equals `1 - alphas_cumprod` for epsilon prediction.

    Args:
        snr: signal-to-noise ratio of each sample's noise level.
        gamma: how strongly nearly clean levels are played down; 0 is the plain epsilon loss.
        k: keeps the weight finite as SNR goes to 0.
        prediction_type: what the network predicts.

    Returns:
        One factor per sample.

    Example:
        >>> import torch
        >>> snr = torch.tensor([0.25, 1.0, 4.0])
        >>> [round(w, 3) for w in p2_weight(snr).tolist()]
        [0.8, 0.5, 0.2]
        >>> [round(w, 3) for w in p2_weight(snr, prediction_type="v").tolist()]
        [0.16, 0.25, 0.16]
    """
    return _from_eps((k + snr) ** -gamma, snr, prediction_type)


def min_snr_weight(
    snr: Float[Tensor, " batch"], gamma: float = 5.0, prediction_type: PredictionType = "eps"
) -> Float[Tensor, " batch"]:
    """Min-SNR weight: the x_0 loss times `min(SNR, gamma)` (Hang et al. 2023, section 3.4).

    That is `min(SNR, gamma) / SNR` for epsilon and `min(SNR, gamma) / (SNR + 1)` for v.

    Args:
        snr: signal-to-noise ratio of each sample's noise level.
        gamma: ratio above which levels stop gaining weight.
        prediction_type: what the network predicts.

    Returns:
        One factor per sample.

    Example:
        >>> import torch
        >>> snr = torch.tensor([0.25, 5.0, 20.0])
        >>> min_snr_weight(snr).tolist()
        [1.0, 1.0, 0.25]
        >>> min_snr_weight(snr, prediction_type="x_0").tolist()
        [0.25, 5.0, 5.0]
    """
    return _from_eps((gamma / snr).clamp(max=1.0), snr, prediction_type)


def _from_eps(weight: Tensor, snr: Tensor, prediction_type: PredictionType) -> Tensor:
    if prediction_type == "eps":
        return weight
    if prediction_type == "v":
        return weight * snr / (1 + snr)
    if prediction_type == "x_0":
        return weight * snr
    raise ValueError(f"prediction_type must be 'eps', 'v' or 'x_0', got {prediction_type!r}")
