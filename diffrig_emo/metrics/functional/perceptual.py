"""Distances that a network sees: LPIPS between pictures, CSIM between faces."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

PictureDistance = Callable[[Tensor, Tensor], Tensor]
"""Two batches of pictures (batch, 3, height, width), RGB in [0, 1], to a distance each (batch,)."""

PictureFeatures = Callable[[Tensor], Tensor]
"""Pictures (batch, 3, height, width), RGB in [0, 1], to vectors (batch, dim)."""


def lpips(
    pred: Float[Tensor, "batch 3 height width"],
    target: Float[Tensor, "batch 3 height width"],
    network: PictureDistance,
) -> Float[Tensor, " batch"]:
    """Learned perceptual distance of each pair of pictures (Zhang et al. 2018).

    Args:
        pred: RGB in [0, 1].
        target: RGB in [0, 1].
        network: gives the distances, such as `perception.LPIPSNetwork`; figures of AlexNet and VGG do not compare.

    Raises:
        ValueError: when shapes differ, or the network gives no distance per pair.

    Example:
        >>> pictures = torch.rand(2, 3, 8, 8)
        >>> lpips(pictures, 1 - pictures, lambda a, b: (a - b).square().mean(dim=(1, 2, 3))).shape
        torch.Size([2])
    """
    if pred.shape != target.shape:
        raise ValueError(f"pred and target: expected equal shapes, got {tuple(pred.shape)} and {tuple(target.shape)}")
    distance = network(pred, target)
    if distance.shape != pred.shape[:1]:
        raise ValueError(f"network: expected distances of shape ({len(pred)},), got {tuple(distance.shape)}")
    return distance


def csim(pred: Float[Tensor, "batch dim"], target: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
    """Cosine of the angle between the embeddings of two faces: 1 for one picture, around 0 for strangers.

    Args:
        pred: embeddings of the pictures under test, such as `perception.ArcFaceEmbedder` gives; of any length.
        target: embeddings of the person they should show. Figures of different embedders do not compare.

    Raises:
        ValueError: when the shapes are no two equal batches.

    Example:
        >>> csim(torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0]])).round(decimals=4).tolist()
        [0.6000...]
    """
    if pred.ndim != 2 or pred.shape != target.shape:
        raise ValueError(
            f"pred and target: expected embeddings of equal shapes (batch, dim), got {tuple(pred.shape)} and "
            f"{tuple(target.shape)}"
        )
    return F.cosine_similarity(pred, target, dim=1)


def features_of(network: PictureFeatures, image: Tensor, name: str = "network") -> Float[Tensor, "batch dim"]:
    """What a network gives for pictures, or an error when it is no vector for each.

    Raises:
        ValueError: naming the network.
    """
    features: object = network(image)
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(image):
        got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"{name}: expected one vector per picture, (batch, dim), got {got}; pool it")
    return features.to(torch.float32)
