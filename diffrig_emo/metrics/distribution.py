"""FID and KID accumulated over batches, by a network that they are given."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from diffrig_emo.metrics.functional.distribution import _frechet_compute, _moments, kernel_distance
from diffrig_emo.metrics.functional.perceptual import PictureFeatures, features_of


class FID(Metric):
    """Frechet inception distance of two sets of pictures; see `metrics.functional.frechet_distance`.

    What is kept are the sums of features and of their products, in float64. torchmetrics' `FeatureShare` may run the
    network once for FID and KID.

    Args:
        network: pictures to features, such as `perception.InceptionFeatures`.
        feature_dim: how many numbers its features have.

    Example:
        >>> metric = FID(lambda image: image.mean(dim=(2, 3)), feature_dim=3)
        >>> pictures = torch.rand(8, 3, 4, 4)
        >>> metric.update(pictures, real=True)
        >>> metric.update(pictures, real=False)
        >>> abs(round(metric.compute().item(), 4))
        0.0
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    feature_network = "network"

    def __init__(self, network: PictureFeatures, feature_dim: int = 2048) -> None:
        super().__init__()
        self.network = network
        self.feature_dim = feature_dim
        for kind in ("real", "fake"):
            self.add_state(f"{kind}_count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
            self.add_state(f"{kind}_sum", torch.zeros(feature_dim, dtype=torch.float64), dist_reduce_fx="sum")
            outer = torch.zeros(feature_dim, feature_dim, dtype=torch.float64)
            self.add_state(f"{kind}_outer", outer, dist_reduce_fx="sum")

    def update(self, image: Tensor, real: bool) -> None:
        """Add pictures (B, 3, H, W), RGB in [0, 1], to the real ones or to those under test."""
        features = _features(self.network, image, self.feature_dim)
        kind = "real" if real else "fake"
        for name, value in zip(("count", "sum", "outer"), _moments(features), strict=True):
            setattr(self, f"{kind}_{name}", getattr(self, f"{kind}_{name}") + value)

    def compute(self) -> Tensor:
        """The distance.

        Raises:
            ValueError: when there are fewer than two pictures of a kind.
        """
        for kind in ("real", "fake"):
            count = int(getattr(self, f"{kind}_count"))
            if count < 2:
                raise ValueError(f"FID: expected at least two {kind} pictures, got {count}")
        return _frechet_compute(self._kept("real"), self._kept("fake")).float()

    def _kept(self, kind: str) -> tuple[Tensor, Tensor, Tensor]:
        return getattr(self, f"{kind}_count"), getattr(self, f"{kind}_sum"), getattr(self, f"{kind}_outer")


class KID(Metric):
    """Kernel inception distance of two sets of pictures: mean and deviation over random subsets.

    As torch-fidelity reports it: `metrics.functional.kernel_distance` of many random subsets. The features are kept,
    8 kB a picture.

    Args:
        network: pictures to features, such as `perception.InceptionFeatures`.
        feature_dim: how many numbers its features have.
        subset_size: pictures of each kind in a subset.
        subsets: how many are drawn.
        seed: of the draws.

    Raises:
        ValueError: when a number is too small.

    Example:
        >>> metric = KID(lambda image: image.mean(dim=(2, 3)), feature_dim=3, subset_size=4, subsets=2)
        >>> metric.update(torch.zeros(4, 3, 4, 4), real=True)
        >>> metric.update(torch.ones(4, 3, 4, 4), real=False)
        >>> metric.compute()
        {'kid': tensor(7.), 'kid_std': tensor(0.)}
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    feature_network = "network"

    real_features: list[Tensor]
    fake_features: list[Tensor]

    def __init__(
        self,
        network: PictureFeatures,
        feature_dim: int = 2048,
        subset_size: int = 1000,
        subsets: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, (number, least) in {"subset_size": (subset_size, 2), "subsets": (subsets, 1)}.items():
            if number < least:
                raise ValueError(f"{name}: expected at least {least}, got {number}")
        self.network = network
        self.feature_dim = feature_dim
        self.subset_size = subset_size
        self.subsets = subsets
        self.seed = seed
        for kind in ("real", "fake"):
            self.add_state(f"{kind}_features", [], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forget all pictures."""
        super().reset()
        # Never an empty list: processes that gather from one without pictures have to know the features' length.
        for kind in ("real", "fake"):
            setattr(self, f"{kind}_features", [torch.zeros(0, self.feature_dim, device=self.device)])

    def update(self, image: Tensor, real: bool) -> None:
        """Add pictures (B, 3, H, W), RGB in [0, 1], to the real ones or to those under test."""
        kept = self.real_features if real else self.fake_features
        kept.append(_features(self.network, image, self.feature_dim))

    def compute(self) -> dict[str, Tensor]:
        """`kid`, the mean over the subsets, and `kid_std`, the standard deviation between them.

        Raises:
            ValueError: when there are fewer pictures of a kind than a subset has.
        """
        sets = []
        for kind, kept in {"real": self.real_features, "fake": self.fake_features}.items():
            features = dim_zero_cat(kept)
            if len(features) < self.subset_size:
                raise ValueError(
                    f"KID: expected at least subset_size={self.subset_size} {kind} pictures, got {len(features)}; add "
                    "pictures or make the subsets smaller"
                )
            sets.append(features)
        generator = torch.Generator().manual_seed(self.seed)
        values = []
        for _ in range(self.subsets):
            drawn = [f[torch.randperm(len(f), generator=generator)[: self.subset_size].to(f.device)] for f in sets]
            values.append(kernel_distance(*drawn))
        found = torch.stack(values).float()
        return {"kid": found.mean(), "kid_std": found.std(correction=0)}


def _features(network: PictureFeatures, image: Tensor, feature_dim: int) -> Tensor:
    features = features_of(network, image)
    if features.shape[1] != feature_dim:
        raise ValueError(f"network: expected feature_dim={feature_dim} numbers, got {features.shape[1]}")
    return features
