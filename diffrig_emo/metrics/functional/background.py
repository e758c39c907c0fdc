"""What an edit should leave as it is."""

from __future__ import annotations

from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from diffrig_emo.metrics.functional.image import _check_pictures, l1, psnr


def background_preservation(
    pred: Float[Tensor, "batch 3 height width"],
    source: Float[Tensor, "batch 3 height width"],
    region: Shaped[Tensor, "batch 1 height width"],
    margin: int = 0,
) -> dict[str, Float[Tensor, " batch"]]:
    """How well edits keep what they should not touch: PSNR and mean difference to the source, outside a region.

    Args:
        pred: the edited pictures, RGB in [0, 1].
        source: the pictures before the edit, RGB in [0, 1].
        region: what the edit may change, boolean or 0 and 1: the union of the face's coverage before and after it,
            or `changed_mask` of a true edit.
        margin: pixels around the region that are left out as well: hair and skin blend into the face's border.

    Returns:
        `psnr` in decibels, infinite where nothing changed, and `l1` in units of the [0, 1] range; NaN for a picture
        that the region fills.

    Raises:
        ValueError: when shapes differ, a picture leaves [0, 1] or the margin is negative.

    Example:
        >>> import torch
        >>> source, face = torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
        >>> face[..., 0] = 1
        >>> background_preservation(source + 0.5 * face, source, face)
        {'psnr': tensor([inf]), 'l1': tensor([0.])}
    """
    if margin < 0:
        raise ValueError(f"margin: expected a number of pixels, 0 or more, got {margin}")
    inside = _check_pictures(pred, source, region, names=("pred", "source", "region"))
    outside = F.max_pool2d(inside, 2 * margin + 1, stride=1, padding=margin) == 0
    return {"psnr": psnr(pred, source, outside), "l1": l1(pred, source, outside)}
