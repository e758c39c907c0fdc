"""Resizing as DiffusionRig resizes."""

from __future__ import annotations

import functools

import numpy as np
import scipy.sparse
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
    # Both axes alike, one after the other; the axis that shrinks comes first, so that it is contiguous in the other's.
    channels, height, width = image.shape
    pixels = image.cpu().numpy()
    rows = _weights(height, size[0])
    shrunk = np.stack([rows @ channel for channel in pixels])
    columns = _weights(width, size[1]) @ shrunk.reshape(channels * size[0], width).T
    return torch.from_numpy(columns.T.reshape(channels, *size)).contiguous().to(image)


@functools.lru_cache(maxsize=16)
def _weights(side: int, out: int) -> scipy.sparse.csr_array:
    """How much each pixel of a row (side) gives to each pixel of the resized row (out)."""
    # In blocks, because the whole identity of a huge photo would not fit into memory.
    blocks = (np.eye(side, min(256, side - first), -first) for first in range(0, side, 256))
    resized = [resize(b, (out, b.shape[1]), anti_aliasing=True) for b in blocks]  # type: ignore[no-untyped-call]
    return scipy.sparse.csr_array(np.concatenate(resized, axis=1))
