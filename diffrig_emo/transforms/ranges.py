"""The one place where pictures change between the [0, 1] of batches and the [-1, 1] of networks."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def to_signed(unit: Float[Tensor, "*dims"]) -> Float[Tensor, "*dims"]:
    """Map [0, 1] to [-1, 1].

    Example:
        >>> import torch
        >>> to_signed(torch.tensor([0.0, 0.5, 1.0])).tolist()
        [-1.0, 0.0, 1.0]
    """
    return unit * 2 - 1


def to_unit(signed: Float[Tensor, "*dims"]) -> Float[Tensor, "*dims"]:
    """Map [-1, 1] to [0, 1], without clamping.

    Example:
        >>> import torch
        >>> to_unit(torch.tensor([-1.0, 0.0, 1.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    return (signed + 1) / 2
