"""Cutting faces out of photographs. Pixel coordinates put integers at pixel centres."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from diffrig_emo.transforms.alignment import cut_ffhq
from diffrig_emo.transforms.crop import warp
from diffrig_emo.transforms.resizing import resize_picture

# FFHQ's alignment shrinks photos that have four times the pixels or more, so this is as fine as the photo, whatever its
# size. The published 4096 takes ten times as long, and differs by one level of 255 at most.
_SAMPLING = 4
_MAX_SAMPLES = 8
"""Samples per pixel and axis: enough from 2000 pixels to 256, bounded for the largest photos."""


def window_tform(left: float, top: float, side: float, size: int) -> Float[Tensor, "3 3"]:
    """Similarity from a photo to the picture of side `size` that a square window of it becomes.

    Args:
        left: first column of the window.
        top: first row of the window.
        side: columns and rows of the window.
        size: side of the picture in pixels.

    Example:
        >>> corner = torch.tensor([9.5, 19.5, 1.0])  # the outer corner of pixel (10, 20)
        >>> (window_tform(10, 20, 100, 50) @ corner).tolist()
        [-0.5, -0.5, 1.0]
    """
    zoom = size / side
    moved = [0.5 * zoom - 0.5 - zoom * start for start in (left, top)]
    return torch.tensor([[zoom, 0, moved[0]], [0, zoom, moved[1]], [0, 0, 1]])


def centre_window(height: int, width: int, size: int) -> Float[Tensor, "3 3"]:
    """Similarity of the largest square in the middle of a photo."""
    side = min(height, width)
    return window_tform((width - side) // 2, (height - side) // 2, side, size)


def quad_tform(quad: Float[Tensor, "4 2"], size: int) -> Float[Tensor, "3 3"]:
    """Similarity of a turned square, given by its corners as FFHQ's `face_quad` is.

    Args:
        quad: upper left, lower left, lower right and upper right corner in pixels of the photo.
        size: side of the picture in pixels.

    Raises:
        ValueError: when the corners coincide.

    Example:
        >>> quad = torch.tensor([[10.0, 20.0], [10.0, 120.0], [110.0, 120.0], [110.0, 20.0]]) - 0.5
        >>> torch.allclose(quad_tform(quad, 50), window_tform(10, 20, 100, 50))
        True
    """
    # Of three corners, because the fourth of a square says nothing new.
    corners = torch.cat([quad[[0, 1, 3]].double().T, torch.ones(1, 3, dtype=torch.float64)])
    if torch.linalg.det(corners).abs() < 1e-6 or not torch.isfinite(corners).all():
        raise ValueError(f"quad: expected the corners of a square, got {quad.tolist()}")
    low, high = -0.5, size - 0.5
    wanted = torch.tensor([[low, low, high], [low, high, low], [1, 1, 1]], dtype=torch.float64)
    tform: Tensor = wanted @ torch.linalg.inv(corners)
    return tform.float()


def cut_aligned(
    photo: Float[Tensor, "3 height width"], photo_to_aligned: Float[Tensor, "3 3"], size: int
) -> Float[Tensor, "3 size size"]:
    """Cut the aligned picture of a face out of its photo, as `crop_faces` and `diffrig-emo prepare` do.

    An upright window of whole pixels inside the photo is resized as DiffusionRig does (`resize_picture`); any other
    square is cut as FFHQ's alignment does, borders included (`cut_ffhq`). The map alone decides: whoever kept it gets
    the same picture again, bit for bit.

    Args:
        photo: RGB in [0, 1].
        photo_to_aligned: similarity from pixels of the photo to pixels of the picture.
        size: side of the picture in pixels, that the map was made for.

    Raises:
        ValueError: when the map cannot be inverted, or its square lies outside the photo.

    Example:
        >>> photo = torch.rand(3, 6, 8)
        >>> bool((cut_aligned(photo, window_tform(3, 2, 4, 4), 4) == photo[:, 2:6, 3:7]).all())
        True
    """
    window = _window(photo_to_aligned.detach().cpu(), (photo.shape[1], photo.shape[2]), size)
    if window is None:
        return cut_ffhq(photo, photo_to_aligned, size, _SAMPLING * size).to(photo)
    left, top, side = window
    return resize_picture(photo[:, top : top + side, left : left + side], (size, size)).contiguous()


def _window(tform: Tensor, photo_size: tuple[int, int], size: int) -> tuple[int, int, int] | None:
    """Left, top and side of the window of whole pixels that a map stands for, exactly; None when it is another map."""
    zoom = float(tform[0, 0])
    if not (torch.isfinite(tform).all() and zoom > 0):
        return None
    side = round(size / zoom)
    left, top = (round((0.5 * zoom - 0.5 - float(shift)) / zoom) for shift in tform[:2, 2])
    inside = 0 <= left <= photo_size[1] - side and 0 <= top <= photo_size[0] - side and side > 0
    return (left, top, side) if inside and torch.equal(tform, window_tform(left, top, side, size)) else None


def cut(photo: Float[Tensor, "3 height width"], tform: Float[Tensor, "3 3"], size: int) -> Float[Tensor, "3 size size"]:
    """Sample a square picture from a photo; black outside the photo, as encoders' crops are.

    Bilinear, and smoothed where the photo shrinks: each pixel averages what it covers.

    Args:
        photo: RGB in [0, 1].
        tform: similarity from pixels of the photo to pixels of the picture.
        size: side of the picture in pixels.

    Example:
        >>> photo = torch.arange(24.0).reshape(1, 4, 6).expand(3, 4, 6)
        >>> cut(photo, window_tform(0, 0, 4, 2), 2)[0].tolist()  # means of 2 x 2 pixels
        [[3.5, 5.5], [15.5, 17.5]]
    """
    height, width = photo.shape[1:]
    if height == width and torch.allclose(tform, centre_window(height, width, size), atol=1e-4):
        return photo if width == size else F.interpolate(photo[None], (size, size), mode="bilinear", antialias=True)[0]
    zoom = math.sqrt(abs(float(torch.linalg.det(tform[:2, :2]))))
    samples = min(max(math.ceil(1 / zoom - 1e-3), 1), _MAX_SAMPLES)
    finer = window_tform(0, 0, size, size * samples) @ tform
    fine = warp(photo[None], finer[None], (size * samples, size * samples))
    averaged: Tensor = F.avg_pool2d(fine, samples)
    return averaged[0]


def move_points(tform: Float[Tensor, "3 3"], points: Float[Tensor, "n_points 2"]) -> Float[Tensor, "n_points 2"]:
    """Points of a photo in pixels of the picture; NaN stays NaN."""
    moved: Tensor = points @ tform[:2, :2].T + tform[:2, 2]
    return moved
