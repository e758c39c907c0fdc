"""Where an edit changes a picture, as its spatial conditions tell."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.structures import Conditioning


def released(
    own: Conditioning, wanted: Conditioning, release: float, sharpness: float = 1.0
) -> Float[Tensor, "batch 1 height width"] | None:
    """How far an edit leaves a pixel alone: `1 - release * min(1, sharpness * |change of the conditions|)`.

    With a sharpness of 1 the factor by which an inverted latent lets go of the source.

    None where there are no spatial conditions to tell what changes.
    """
    if own.spatial is None or wanted.spatial is None:
        return None
    change = (wanted.spatial - own.spatial).abs().amax(dim=1, keepdim=True)
    return 1 - release * (sharpness * change).clamp(max=1)


def changing(own: Conditioning, wanted: Conditioning, sharpness: float = 10.0) -> Float[Tensor, "batch 1 height width"]:
    """Where an edit changes the spatial conditions, with a soft border, to blend it into the source.

    The border lies outside of what changes, where shadows fall and hair moves: it is `height // 16` pixels wide.

    Args:
        own: conditions before the edit.
        wanted: conditions after it.
        sharpness: a change of the conditions of 1 over this counts in full.

    Returns:
        1 where they change, 0 from the border on: `torch.lerp(source, edit, share)` is the blend.

    Raises:
        ValueError: when there are no spatial conditions.

    Example:
        >>> import torch
        >>> own = Conditioning(spatial=torch.zeros(1, 1, 16, 16))
        >>> wanted = Conditioning(spatial=torch.zeros(1, 1, 16, 16).index_fill(3, torch.tensor([0, 1]), 1.0))
        >>> [round(value, 2) for value in changing(own, wanted)[0, 0, 8, :5].tolist()]
        [1.0, 1.0, 0.67, 0.33, 0.0]
    """
    still = released(own, wanted, 1.0, sharpness)
    if still is None:
        raise ValueError("blend: expected a conditioner with spatial conditions to tell what changes, got none")
    reach = max(1, still.shape[-2] // 32)
    window = 2 * reach + 1
    grown = F.max_pool2d(1 - still, window, stride=1, padding=reach)
    # Averages over what lies inside the picture, so that its edge does not count as unchanged.
    return F.avg_pool2d(grown, window, stride=1, padding=reach, count_include_pad=False)
