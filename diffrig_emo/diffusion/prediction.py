"""From what a denoiser predicts to the clean picture and the noise, and back.

Legend: `x_t = alpha x_0 + sigma eps` with `alpha = sqrt(alphas_cumprod)` and `sigma = sqrt(1 - alphas_cumprod)`,
so `alpha^2 + sigma^2 = 1`; the velocity is `v = alpha eps - sigma x_0` (Salimans and Ho 2022). alpha and sigma are
numbers, or tensors that broadcast against the picture.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from diffrig_emo.losses.functional import PredictionType

Scale = float | Tensor


def prediction_target(
    x_0: Float[Tensor, "batch ..."],
    eps: Float[Tensor, "batch ..."],
    alpha: Scale,
    sigma: Scale,
    prediction_type: PredictionType,
) -> Float[Tensor, "batch ..."]:
    """What a denoiser of this type should have said.

    Example:
        >>> import torch
        >>> x_0, eps = torch.tensor([[1.0]]), torch.tensor([[2.0]])
        >>> [round(prediction_target(x_0, eps, 0.8, 0.6, p).item(), 4) for p in ("eps", "v", "x_0")]
        [2.0, 1.0, 1.0]
    """
    check_prediction_type(prediction_type)
    if prediction_type == "eps":
        return eps
    return alpha * eps - sigma * x_0 if prediction_type == "v" else x_0


def to_x_0(
    prediction: Float[Tensor, "batch ..."],
    x_t: Float[Tensor, "batch ..."],
    alpha: Scale,
    sigma: Scale,
    prediction_type: PredictionType,
) -> Float[Tensor, "batch ..."]:
    """The clean picture that a prediction implies at x_t."""
    check_prediction_type(prediction_type)
    if prediction_type == "eps":
        return (x_t - sigma * prediction) / alpha
    return alpha * x_t - sigma * prediction if prediction_type == "v" else prediction


def to_eps(
    prediction: Float[Tensor, "batch ..."],
    x_t: Float[Tensor, "batch ..."],
    alpha: Scale,
    sigma: Scale,
    prediction_type: PredictionType,
) -> Float[Tensor, "batch ..."]:
    """The noise that a prediction implies at x_t."""
    check_prediction_type(prediction_type)
    if prediction_type == "x_0":
        return (x_t - alpha * prediction) / sigma
    return sigma * x_t + alpha * prediction if prediction_type == "v" else prediction


def check_prediction_type(prediction_type: str) -> None:
    """Refuse anything but the three prediction types."""
    if prediction_type not in ("eps", "v", "x_0"):
        raise ValueError(f"prediction_type must be 'eps', 'v' or 'x_0', got {prediction_type!r}")
