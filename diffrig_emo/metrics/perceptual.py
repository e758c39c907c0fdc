"""LPIPS and CSIM accumulated over batches, by networks that they are given."""

from __future__ import annotations

from torch import Tensor

from diffrig_emo.metrics.functional.perceptual import PictureDistance, PictureFeatures, csim, features_of, lpips
from diffrig_emo.metrics.means import MeanOverFaces


class LPIPS(MeanOverFaces):
    """Mean learned perceptual distance over pictures; see `metrics.functional.lpips`.

    Args:
        network: gives the distance of each pair, such as `perception.LPIPSNetwork`.

    Example:
        >>> import torch
        >>> metric = LPIPS(lambda a, b: (a - b).abs().mean(dim=(1, 2, 3)))
        >>> metric.update(torch.ones(2, 3, 8, 8), torch.zeros(2, 3, 8, 8))
        >>> float(metric.compute())
        1.0
    """

    is_differentiable = True
    higher_is_better = False

    def __init__(self, network: PictureDistance) -> None:
        super().__init__()
        self.network = network

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add a batch: pictures (B, 3, H, W), RGB in [0, 1]."""
        self._add(lpips(pred, target, self.network))


class CSIM(MeanOverFaces):
    """Mean cosine similarity of identity embeddings over faces; see `metrics.functional.csim`.

    The pictures are given as the embedder wants them: for ArcFace cut by `transforms.identity_crop`.

    Args:
        embedder: face crops to vectors, such as `perception.ArcFaceEmbedder`. An edit that was trained with one
            embedder should be measured with another.

    Example:
        >>> import torch
        >>> metric = CSIM(lambda image: image.mean(dim=(2, 3)))
        >>> faces = torch.rand(2, 3, 8, 8)
        >>> metric.update(faces, 0.5 * faces)
        >>> round(float(metric.compute()), 4)
        1.0
    """

    is_differentiable = True
    higher_is_better = True

    def __init__(self, embedder: PictureFeatures) -> None:
        super().__init__()
        self.embedder = embedder

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add a batch of face crops (B, 3, h, w), RGB in [0, 1]: results, and the persons they should show."""
        embeddings = [features_of(self.embedder, image, "embedder") for image in (pred, target)]
        self._add(csim(*embeddings))
