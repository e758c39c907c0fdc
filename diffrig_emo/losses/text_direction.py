"""Pictures that should change as two texts differ."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def text_direction_loss(
    edit: Float[Tensor, "batch dim"], source: Float[Tensor, "batch dim"], direction: Float[Tensor, "batch dim"]
) -> Float[Tensor, " batch"]:
    """`-log((1 + cos) / 2)` of the angle between the change of the pictures and the change of the texts.

    The directional loss of StyleGAN-NADA (Gal et al. 2022, eq. 3) under the logarithm of Pikoulis et al. 2023: 0 where
    both changes agree, log 2 where they are unrelated.

    Args:
        edit: embeddings of the edited pictures, of any length.
        source: embeddings of the pictures before.
        direction: embedding of the text wanted minus that of the text that described the picture, of any length.

    Raises:
        ValueError: when the shapes differ.

    Example:
        >>> source, direction = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 1.0]])
        >>> text_direction_loss(torch.tensor([[0.0, 1.0]]), source, direction).abs().item() < 1e-6
        True
    """
    if not edit.shape == source.shape == direction.shape:
        raise ValueError(
            f"edit, source and direction: expected equal shapes, got {tuple(edit.shape)}, {tuple(source.shape)} and "
            f"{tuple(direction.shape)}"
        )
    change = F.normalize(edit, dim=1) - F.normalize(source, dim=1)
    cosine = F.cosine_similarity(change, direction, dim=1)
    # Opposite changes would have no finite loss.
    return -torch.log(((1 + cosine) / 2).clamp(min=1e-4))
