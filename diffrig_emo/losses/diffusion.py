"""The weights over noise levels as small modules, to be given to a training module."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from diffrig_emo.losses.functional import PredictionType, min_snr_weight, p2_weight


class LossWeighting(nn.Module, ABC):
    """How much the loss at each noise level counts."""

    @abstractmethod
    def forward(self, snr: Float[Tensor, " batch"], prediction_type: PredictionType) -> Float[Tensor, " batch"]:
        """Factor of each sample's mean squared error, for a network that predicts `prediction_type`."""


class P2Weighting(LossWeighting):
    """Perception-prioritised weights, as DiffusionRig is trained (`p2_weight`).

    Args:
        gamma: how strongly nearly clean levels are played down.
        k: keeps the weight finite as SNR goes to 0.

    Example:
        >>> import torch
        >>> P2Weighting()(torch.tensor([1.0]), "eps").item()
        0.5
    """

    def __init__(self, gamma: float = 1.0, k: float = 1.0) -> None:
        super().__init__()
        if gamma < 0 or k <= 0:
            raise ValueError(f"P2Weighting needs gamma >= 0 and k > 0, got gamma={gamma}, k={k}")
        self.gamma = gamma
        self.k = k

    def forward(self, snr: Float[Tensor, " batch"], prediction_type: PredictionType) -> Float[Tensor, " batch"]:
        """`p2_weight` at these levels."""
        return p2_weight(snr, self.gamma, self.k, prediction_type)


class MinSNRWeighting(LossWeighting):
    """Min-SNR weights (`min_snr_weight`).

    Args:
        gamma: ratio above which levels stop gaining weight.

    Example:
        >>> import torch
        >>> MinSNRWeighting(gamma=5.0)(torch.tensor([20.0]), "eps").item()
        0.25
    """

    def __init__(self, gamma: float = 5.0) -> None:
        super().__init__()
        if gamma <= 0:
            raise ValueError(f"MinSNRWeighting needs gamma > 0, got {gamma}")
        self.gamma = gamma

    def forward(self, snr: Float[Tensor, " batch"], prediction_type: PredictionType) -> Float[Tensor, " batch"]:
        """`min_snr_weight` at these levels."""
        return min_snr_weight(snr, self.gamma, prediction_type)
