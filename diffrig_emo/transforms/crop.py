"""The encoder's crop: DECA's rule for where it lies, sampling it, and pasting it back.

Pixel coordinates put integers at pixel centres; boxes are (left, top, right, bottom).
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def landmark_box(landmarks: Float[Tensor, "batch n_points 2"]) -> Float[Tensor, "batch 4"]:
    """Smallest box around each face's landmarks, pixels."""
    return torch.cat([landmarks.amin(dim=1), landmarks.amax(dim=1)], dim=1)


def crop_tform(
    box: Float[Tensor, "batch 4"], kind: Literal["kpt68", "bbox"] = "kpt68", crop_size: int = 224, scale: float = 1.25
) -> Float[Tensor, "batch 3 3"]:
    """Place the encoder's square crop around a face, by DECA's rule.

    With `old` the mean side of the box (times 1.1 around landmarks), the crop's side is `int(scale * old)`
    pixels; around a detector's box its centre lies `0.12 * old` lower than the box's.

    Args:
        box: left, top, right, bottom of the face, pixels.
        kind: "kpt68" when the box lies around 68 landmarks, "bbox" when a face detector gave it.
        crop_size: side of the crop in pixels (224 for DECA).
        scale: side of the crop relative to the box.

    Returns:
        Similarity from pixels of the picture to pixels of the crop, float32: what `FaceCodes.tform` holds.

    Raises:
        ValueError: when a box is empty, turned inside out or not finite.

    Example:
        >>> tform = crop_tform(torch.tensor([[70.0, 80.0, 190.0, 200.0]]))
        >>> corner = tform @ torch.tensor([130 - 165 / 2, 140 - 165 / 2, 1.0])  # of a crop 165 pixels wide
        >>> corner.abs().round(decimals=3).tolist()
        [[0.0, 0.0, 1.0]]
    """
    if kind not in ("kpt68", "bbox"):
        raise ValueError(f"kind: expected 'kpt68' or 'bbox', got {kind!r}")
    if box.ndim != 2 or box.shape[1] != 4:
        raise ValueError(f"box: expected a tensor of shape (batch, 4), got {tuple(box.shape)}")
    # float64, because a rounding error before the truncation would move the crop by a pixel
    left, top, right, bottom = box.double().unbind(dim=1)
    old = (right - left + bottom - top) / 2
    centre_x, centre_y = (left + right) / 2, (top + bottom) / 2
    if kind == "kpt68":
        old = 1.1 * old
    else:
        centre_y = centre_y + 0.12 * old
    size = (scale * old).trunc()
    bad = ~(torch.isfinite(box).all(dim=1) & (right >= left) & (bottom >= top) & (size >= 1))
    if bad.any():
        item = int(bad.nonzero()[0])
        raise ValueError(
            f"box: expected left < right and top < bottom, in pixels, got {box[item].tolist()} in item {item}"
        )
    zoom = (crop_size - 1) / size  # the outermost pixel centres of the crop lie on the square's border
    tform = torch.zeros(len(box), 3, 3, dtype=torch.float64, device=box.device)
    tform[:, 0, 0] = tform[:, 1, 1] = zoom
    tform[:, 0, 2] = -zoom * (centre_x - size / 2)
    tform[:, 1, 2] = -zoom * (centre_y - size / 2)
    tform[:, 2, 2] = 1
    return tform.float()


def warp(
    image: Float[Tensor, "batch channels height width"], tform: Float[Tensor, "batch 3 3"], size: tuple[int, int]
) -> Float[Tensor, "batch channels out_height out_width"]:
    """Resample pictures bilinearly; what lies outside counts as zero, tap by tap, and nothing is smoothed.

    Equal to `skimage.transform.warp(image, inverse(tform), output_shape=size)`.

    Args:
        image: the pictures.
        tform: affine map from pixels of `image` to pixels of the result.
        size: (height, width) of the result.

    Raises:
        ValueError: when the shapes disagree.
    """
    if image.ndim != 4 or tform.shape != (len(image), 3, 3):
        raise ValueError(
            "image and tform: expected shapes (batch, channels, height, width) and (batch, 3, 3), got "
            f"{tuple(image.shape)} and {tuple(tform.shape)}"
        )
    new = {"dtype": image.dtype, "device": image.device}
    rows, columns = torch.meshgrid(
        torch.arange(size[0], **new),  # type: ignore[call-overload]
        torch.arange(size[1], **new),  # type: ignore[call-overload]
        indexing="ij",
    )
    pixels = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1).reshape(-1, 3)
    # Inverted in float64: at 1000 pixels float32 would already cost 1e-4 of a pixel.
    inverse = torch.linalg.inv(tform.double()).to(image.dtype)
    taken = (pixels @ inverse.transpose(1, 2))[..., :2]
    extent = image.new_tensor([image.shape[3], image.shape[2]])
    grid = ((2 * taken + 1) / extent - 1).reshape(len(image), *size, 2)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def crop_face(
    image: Float[Tensor, "batch 3 height width"], tform: Float[Tensor, "batch 3 3"], crop_size: int = 224
) -> Float[Tensor, "batch 3 crop_size crop_size"]:
    """Sample the encoder's crop; black outside the picture.

    Args:
        image: aligned pictures.
        tform: similarity from their pixels to the crop's, from `crop_tform`.
        crop_size: side of the crop in pixels.
    """
    return warp(image, tform, (crop_size, crop_size))


def paste_back(
    crop: Float[Tensor, "batch channels crop_height crop_width"],
    tform: Float[Tensor, "batch 3 3"],
    background: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels height width"]:
    """Put crops back where they were taken, over the pictures; the inverse sampling of `crop_face`.

    Args:
        crop: the crops.
        tform: similarity from pixels of `background` to pixels of the crop.
        background: the pictures; they stay as they are outside the crop, and blend over its outermost pixel.

    Returns:
        The pictures with the crops in their places.
    """
    size = (background.shape[2], background.shape[3])
    inverse = torch.linalg.inv(tform.double()).to(crop.dtype)
    inside = warp(torch.ones_like(crop[:, :1]), inverse, size)
    return warp(crop, inverse, size) + (1 - inside) * background
