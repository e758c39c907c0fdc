"""Weak-perspective projection, and the way from the encoder's crop back to the aligned picture."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def project(
    points: Float[Tensor, "batch n_points 3"], cam: Float[Tensor, "batch 3"]
) -> Float[Tensor, "batch n_points 3"]:
    """Project world points to the screen of the encoder's crop (DECA's weak perspective).

    `xy = s (xy + t)`, `z = s z`, then y and z change sign.

    Args:
        points: world metres, y up, z towards the camera.
        cam: (s, tx, ty).

    Returns:
        Screen points: x right and y down in [-1, 1] over the crop; smaller z is nearer.

    Example:
        >>> project(torch.tensor([[[0.1, 0.2, 0.3]]]), torch.tensor([[2.0, 0.0, 0.0]])).round(decimals=3).tolist()
        [[[0.2..., -0.4..., -0.6...]]]
    """
    scale = cam[:, None, :1]
    moved = torch.cat([points[..., :2] + cam[:, None, 1:], points[..., 2:]], dim=-1)
    return scale * moved * moved.new_tensor([1.0, -1.0, -1.0])


def crop_to_aligned(
    screen: Float[Tensor, "batch n_points 3"],
    tform: Float[Tensor, "batch 3 3"],
    crop_size: int,
    aligned_size: tuple[int, int],
) -> Float[Tensor, "batch n_points 3"]:
    """Carry screen points of the crop over to the screen of the aligned picture.

    DECA's rule, kept to the letter: the crop is taken as `crop_size` pixels wide although its transform
    was made for `crop_size - 1`, no half pixel is added, and z stays in the crop's scale.

    Args:
        screen: points on the crop's screen, [-1, 1].
        tform: similarity from aligned pixels to crop pixels (`FaceCodes.tform`).
        crop_size: side of the crop in pixels (224 for DECA).
        aligned_size: (height, width) of the aligned picture in pixels.

    Returns:
        The points on the aligned picture's screen.
    """
    height, width = aligned_size
    pixels = (screen[..., :2] * 0.5 + 0.5) * crop_size
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)
    aligned = homogeneous @ torch.linalg.inv(tform).transpose(1, 2)
    xy = aligned[..., :2] / aligned.new_tensor([width, height]) * 2 - 1
    return torch.cat([xy, screen[..., 2:]], dim=-1)
