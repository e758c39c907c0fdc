"""A filter bank that is learned from pictures alone."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F


class PatchFeatures(nn.Module):
    """Whitened principal components of small colour patches, each way apart (Coates, Lee and Ng 2011, section 3).

    Features without labels and without a network: what differs between patches of the pictures at hand, light and
    skin tone before edges, since that is where most of the variance is. Untrained, the filters are zero: `fit_patches`
    learns them.

    Args:
        n_filters: number of components; there are twice as many maps.
        size: side of a patch in pixels, odd.

    Raises:
        ValueError: when `size` is even, or a patch has fewer numbers than filters are asked for.

    Example:
        >>> features = PatchFeatures(n_filters=4)
        >>> fit_patches(features, torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8))
        >>> features(torch.rand(2, 3, 16, 16)).shape
        torch.Size([2, 8, 16, 16])
    """

    filters: Float[Tensor, "n_filters 3 size size"]
    bias: Float[Tensor, " n_filters"]

    def __init__(self, n_filters: int = 8, size: int = 5) -> None:
        super().__init__()
        if size < 1 or size % 2 == 0:
            raise ValueError(f"PatchFeatures: size must be odd and positive, got {size}")
        if not 1 <= n_filters <= 3 * size**2:
            raise ValueError(f"PatchFeatures: n_filters must be from 1 to {3 * size**2} (3 x size²), got {n_filters}")
        self.register_buffer("filters", torch.zeros(n_filters, 3, size, size))
        self.register_buffer("bias", torch.zeros(n_filters))

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch maps height width"]:
        """Responses of pictures in [0, 1], in standard deviations of the patches learned from; at least 0."""
        margin = self.filters.shape[-1] // 2
        response = F.conv2d(F.pad(image, [margin] * 4, mode="replicate"), self.filters, self.bias)
        return torch.cat([response, -response], dim=1).clamp(min=0)


@torch.no_grad()
def fit_patches(
    features: PatchFeatures, images: UInt8[Tensor, "pictures 3 height width"], ridge: float = 1e-4, seed: int = 0
) -> None:
    """Learn the filters from patches of up to 400 pictures.

    Args:
        features: the filter bank; its filters are replaced.
        images: RGB, 0 to 255, at least as large as a patch.
        ridge: variance added to every component before it is scaled to 1, so that faint ones are not blown up.
        seed: chooses the pictures.

    Raises:
        ValueError: when the pictures are smaller than a patch.
    """
    size = features.filters.shape[-1]
    if min(images.shape[2:]) < size:
        raise ValueError(f"fit_patches: pictures of {size} x {size} pixels or more, got {tuple(images.shape[2:])}")
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:400]
    patches = F.unfold(images[chosen].float() / 255, size, stride=3).transpose(1, 2).flatten(0, 1).double()
    variances, directions = torch.linalg.eigh(torch.cov(patches.T))
    n = len(features.filters)
    strongest = directions.flip(1)[:, :n] / (variances.flip(0)[:n] + ridge).sqrt()
    features.filters.copy_(strongest.T.reshape(n, 3, size, size))
    features.bias.copy_(-(patches.mean(dim=0) @ strongest))
