"""Where an edit changes a picture."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_CLEAR_CHANGE = 0.1  # mean over a few pixels that noise and quantisation do not reach


def change_around(
    image: Float[Tensor, "batch 3 height width"], true_edit: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch 1 height width"]:
    """How much an edit changes around every pixel, 1 where it changes most; about 0 where there is only noise.

    Means over 5 x 5 pixels and the colours, of which the largest is 1, unless it is so small that nothing changes.

    Args:
        image: pictures in [0, 1].
        true_edit: the same after the edit.

    Example:
        >>> import torch
        >>> before = torch.zeros(1, 3, 16, 16)
        >>> after = before.clone()
        >>> after[:, :, 6:11, 6:11] = 0.5
        >>> change_around(before, after)[0, 0, 8, [0, 4, 6, 8]]
        tensor([0.0000, 0.2000, 0.6000, 1.0000])
    """
    difference = (true_edit - image).abs().mean(dim=1, keepdim=True)
    around = F.avg_pool2d(difference, 5, stride=1, padding=2)
    return around / around.amax(dim=(2, 3), keepdim=True).clamp(min=_CLEAR_CHANGE)
