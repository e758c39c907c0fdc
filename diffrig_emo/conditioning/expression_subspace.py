"""Where in a semantic code the expression lies, and how to take it out."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

_SIGNIFICANT = 1e-4
"""Directions with less than this share of the strongest's covariance are rounding."""


class ExpressionSubspace(nn.Module):
    """The directions of semantic codes that say something about the expression.

    With z~ = (z - mean) / std and y = (8 probabilities, valence, arousal), Q is an orthonormal basis of the columns of
    Cov(z~, y), nine at most. Moving a code along Q only,

        neutralise:  z~ - amount Q (Q^T z~ - s_neutral),

    makes Cov(z~, y) = 0 for amount = 1, and then no linear map finds the expression in it any more: zero covariance is
    necessary and sufficient (Belrose et al., "LEACE", 2023, theorem 3.1). What is curved stays. `s_neutral` are the
    coordinates Q^T z~ of the mean neutral face, so a neutralised code is that of a neutral face, not of none.

    The statistics are buffers that grow during training, like a BatchNorm's: no pass over the data precedes it, and
    they follow an encoder that is being trained.

    Args:
        dim: size of the codes.
        amount: how much of the expression is taken out, 0 to 1; 0 leaves every code as it is, exactly.
        warmup: batches over which the amount rises to its value from 0, for a denoiser that knows whole codes.
        momentum: weight of each new batch; None averages all batches alike, for a frozen encoder.

    Raises:
        ValueError: when a number is out of range.

    Example:
        >>> z = torch.randn(256, 16)
        >>> happy = torch.sigmoid(4 * z[:, 3])
        >>> probabilities = torch.stack([1 - happy, happy] + 6 * [torch.zeros(256)], dim=1)
        >>> subspace = ExpressionSubspace(dim=16)
        >>> subspace.learn(z, probabilities, torch.zeros(256, 2))
        >>> centred = subspace(z) - subspace(z).mean(dim=0)
        >>> bool((centred.T @ happy).abs().max() < 1e-2)
        True
    """

    def __init__(self, dim: int = 512, amount: float = 1.0, warmup: int = 0, momentum: float | None = None) -> None:
        super().__init__()
        if dim < 1 or warmup < 0 or not 0 <= amount <= 1 or (momentum is not None and not 0 < momentum <= 1):
            raise ValueError(
                "ExpressionSubspace: expected dim >= 1, 0 <= amount <= 1, warmup >= 0 and 0 < momentum <= 1 or None, "
                f"got dim={dim}, amount={amount}, warmup={warmup}, momentum={momentum}"
            )
        self.dim = dim
        self.amount = amount
        self.warmup = warmup
        self.momentum = momentum
        self.register_buffer("num_batches", torch.zeros((), dtype=torch.long))
        self.register_buffer("moments", torch.zeros(11, dim))
        """E[z], and E[z y_k] for each of the ten y_k."""
        self.register_buffer("squares", torch.zeros(dim))
        """E[z^2]."""
        self.register_buffer("expressions", torch.zeros(10))
        """E[y]."""
        self.num_batches: Tensor
        self.moments: Tensor
        self.squares: Tensor
        self.expressions: Tensor

    @property
    def mean(self) -> Float[Tensor, " dim"]:
        """Mean code."""
        return self.moments[0]

    @property
    def std(self) -> Float[Tensor, " dim"]:
        """Standard deviation of each component of a code; 1 before anything is learnt."""
        variance = (self.squares - self.mean.square()).clamp(min=1e-12)
        return torch.where(self.num_batches > 0, variance.sqrt(), torch.ones_like(variance))

    @property
    def basis(self) -> Float[Tensor, "dim 10"]:
        """Q: orthonormal columns, the strongest first; zero where there is no further direction."""
        covariance = self.moments[1:] - torch.outer(self.expressions, self.mean)
        q, strength, _ = torch.linalg.svd((covariance / self.std).T, full_matrices=False)
        kept = strength > _SIGNIFICANT * strength[0]
        basis: Tensor = q * kept
        return basis

    def forward(self, z: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Neutralise codes."""
        rise = (self.num_batches / max(self.warmup, 1)).clamp(max=1)
        neutral = torch.zeros(z.shape[0], dtype=torch.long, device=z.device)
        return self.toward(z, neutral, self.amount * rise)

    def toward(
        self, z: Float[Tensor, "batch dim"], label: Int[Tensor, " batch"], amount: float | Tensor = 1.0
    ) -> Float[Tensor, "batch dim"]:
        """Move codes along the subspace to where faces of an emotion lie on average.

        This edits an ordinary diffusion autoencoder, whose generator never trained for it.

        Args:
            z: codes.
            label: emotion 0..7 wanted of each; one that was never seen leads to the mean code.
            amount: 0 leaves the codes, 1 goes all the way, above 1 exaggerates.
        """
        if z.ndim != 2 or z.shape[1] != self.dim:
            raise ValueError(f"ExpressionSubspace: expected codes of (batch, {self.dim}), got {tuple(z.shape)}")
        with torch.autocast(z.device.type, enabled=False):
            share = self.expressions[label, None]
            seen = self.moments[1 + label] / share.clamp(min=1e-12)
            target = torch.where(share > 0, seen, self.mean)
            q = self.basis
            step = (target - z.float()) / self.std @ q @ q.T
            return z + (amount * step * self.std).to(z.dtype)

    @torch.no_grad()
    def learn(
        self,
        z: Float[Tensor, "batch dim"],
        probabilities: Float[Tensor, "batch 8"],
        va: Float[Tensor, "batch 2"],
    ) -> None:
        """Take a batch into the statistics; faces of unknown expression (NaN) do not count."""
        with torch.autocast(z.device.type, enabled=False):
            y = torch.cat([probabilities, va], dim=1).float()
            known = ~y.isnan().any(dim=1)
            if not known.any():
                return
            z, y = z[known].float(), y[known]
            self.num_batches += 1
            weight = torch.full_like(self.num_batches, self.momentum or 0, dtype=torch.float32)
            # The first batch counts in full: a running mean has no memory of its zeros.
            weight = torch.maximum(weight, 1 / self.num_batches)
            ones = torch.ones_like(y[:, :1])
            self.moments.lerp_(torch.cat([ones, y], dim=1).T @ z / len(z), weight)
            self.squares.lerp_(z.square().mean(dim=0), weight)
            self.expressions.lerp_(y.mean(dim=0), weight)
