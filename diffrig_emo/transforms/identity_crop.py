"""The crops that face recognisers were trained on."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.transforms.crop import warp

ARCFACE_SIDE = 112
"""Side of ArcFace's crop in pixels."""

ARCFACE_POINTS = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""Where ArcFace's crop has the eyes, the tip of the nose and the corners of the mouth; the eye on the left comes first.

Deng et al. 2019, "ArcFace"; the same five points as in insightface and InsightFace_Pytorch.
"""

_FFHQ_BOX = (35 / 256, 223 / 256, 32 / 256, 220 / 256)
"""Top, bottom, left, right of the face in an FFHQ-aligned picture (Richardson et al. 2021, pSp)."""


def five_points(landmarks: Float[Tensor, "batch 68 2"]) -> Float[Tensor, "batch 5 2"]:
    """The points of `ARCFACE_POINTS`, out of 68 (Multi-PIE order): an eye's centre is the mean of its six points.

    Args:
        landmarks: pixels.
    """
    if landmarks.ndim != 3 or landmarks.shape[1:] != (68, 2):
        raise ValueError(f"landmarks: expected a tensor of shape (batch, 68, 2), got {tuple(landmarks.shape)}")
    eyes = [landmarks[:, 36:42].mean(dim=1), landmarks[:, 42:48].mean(dim=1)]
    return torch.stack([*eyes, landmarks[:, 30], landmarks[:, 48], landmarks[:, 54]], dim=1)


def arcface_tform(landmarks: Float[Tensor, "batch 68 2"]) -> Float[Tensor, "batch 3 3"]:
    """The similarity that brings a face's five points nearest to ArcFace's, in the sense of least squares.

    With points and template as complex numbers z and w around their means, it turns and scales by
    `sum(conj(z) w) / sum(|z|^2)`: Umeyama's solution (1991) in two dimensions, without mirroring.

    Args:
        landmarks: 68 points (Multi-PIE order), pixels of the picture.

    Returns:
        Map from pixels of the picture to pixels of the crop of 112 x 112.

    Raises:
        ValueError: when the points are not finite or all in one place.

    Example:
        >>> points = torch.zeros(1, 68, 2)
        >>> places = torch.tensor(ARCFACE_POINTS)
        >>> points[:, 36:42], points[:, 42:48] = places[0], places[1]
        >>> points[:, 30], points[:, 48], points[:, 54] = places[2], places[3], places[4]
        >>> (arcface_tform(2 * points) * torch.tensor([2.0, 2.0, 1.0])).round(decimals=3).abs().tolist()
        [[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]]
    """
    points = five_points(landmarks).double()
    template = points.new_tensor(ARCFACE_POINTS)
    middle, wanted = points.mean(dim=1), template.mean(dim=0)
    z, w = torch.view_as_complex(points - middle[:, None]), torch.view_as_complex(template - wanted)
    spread = z.abs().square().sum(dim=1)
    bad = ~(torch.isfinite(points).flatten(1).all(dim=1) & (spread > 0))
    if bad.any():
        raise ValueError(
            "landmarks: expected finite eyes, nose and mouth in different places, got none in item "
            f"{int(bad.nonzero()[0])}"
        )
    turn = (z.conj() * w).sum(dim=1) / spread
    tform = torch.eye(3, dtype=torch.float64, device=points.device).repeat(len(points), 1, 1)
    tform[:, 0, 0] = tform[:, 1, 1] = turn.real
    tform[:, 0, 1], tform[:, 1, 0] = -turn.imag, turn.imag
    tform[:, :2, 2] = wanted - (tform[:, :2, :2] @ middle[:, :, None]).squeeze(2)
    return tform.float()


def align_to_arcface(
    image: Float[Tensor, "batch 3 height width"], landmarks: Float[Tensor, "batch 68 2"]
) -> Float[Tensor, "batch 3 112 112"]:
    """Cut faces as ArcFace was trained on them: sampled bilinearly, black outside the picture.

    Args:
        image: the pictures.
        landmarks: 68 points (Multi-PIE order), pixels of the pictures.

    Raises:
        ValueError: when the points are not finite or all in one place.
    """
    return warp(image, arcface_tform(landmarks).to(image), (ARCFACE_SIDE, ARCFACE_SIDE))


def cut_ffhq_face(image: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch 3 cut cut"]:
    """Cut the face out of FFHQ-aligned pictures without landmarks, as the identity losses of pSp and StyleCLIP do.

    Rows 35 to 222 and columns 32 to 219 of a picture of 256 pixels; of others, the same part of it.

    Args:
        image: FFHQ-aligned pictures.

    Example:
        >>> tuple(cut_ffhq_face(torch.zeros(1, 3, 256, 256)).shape)
        (1, 3, 188, 188)
    """
    size = image.shape[-1]
    top, bottom, left, right = (round(part * size) for part in _FFHQ_BOX)
    return image[..., top:bottom, left:right]
