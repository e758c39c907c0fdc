"""Resizing as DiffusionRig resizes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from skimage.transform import resize
from torch import Tensor


def resize_picture(
    image: Float[Tensor, "channels height width"], size: tuple[int, int]
) -> Float[Tensor, "channels out_height out_width"]:
    """Resize a picture: smoothed by a Gaussian where it shrinks, then bilinear (`skimage.transform.resize`).

    Args:
        image: the picture.
        size: (height, width) of the result.

    Example:
        >>> resize_picture(torch.ones(3, 8, 8), (4, 2)).shape
        torch.Size([3, 4, 2])
    """
    if tuple(image.shape[1:]) == size:
        return image
    pixels = image.permute(1, 2, 0).double().cpu().numpy()
    resized = resize(pixels, size, anti_aliasing=True)  # type: ignore[no-untyped-call]
    return torch.from_numpy(resized).permute(2, 0, 1).to(image)
