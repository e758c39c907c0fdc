"""Distances between two sets of pictures, by their features: FID and KID."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def frechet_distance(real: Float[Tensor, "n dim"], fake: Float[Tensor, "m dim"]) -> Float[Tensor, ""]:
    """Frechet distance of two sets of features, taken as normal distributions (Heusel et al. 2017, FID).

    `|mean_r - mean_f|^2 + tr(cov_r + cov_f - 2 sqrt(cov_r cov_f))`, with unbiased covariances. It falls with the
    number of pictures, and needs more of them than a feature has numbers: compare only at one number, 5000 or more.

    Args:
        real: features of real pictures, such as `perception.InceptionFeatures` gives.
        fake: features of the pictures under test.

    Returns:
        The distance in float64; 0 for equal sets.

    Raises:
        ValueError: when the features differ in length, or a set has fewer than two.

    Example:
        >>> real = torch.tensor([[0.0], [2.0]])
        >>> round(frechet_distance(real, 2 * real + 1).item(), 4)  # mean 1 and 3, deviation sqrt(2) and sqrt(8)
        6.0
    """
    _check_features(real, fake)
    return _frechet_compute(_moments(real), _moments(fake))


def kernel_distance(real: Float[Tensor, "n dim"], fake: Float[Tensor, "m dim"]) -> Float[Tensor, ""]:
    """Squared maximum mean discrepancy of two sets of features (Binkowski et al. 2018, KID), unbiased.

    With the kernel `k(x, y) = (x.y / dim + 1)^3`: the mean of k over pairs of two real pictures, plus that over pairs
    of two fake ones, minus twice that over pairs of one each. Unlike FID, its expectation does not depend on the number
    of pictures, so that it serves for few; it may be slightly negative.

    Args:
        real: features of real pictures.
        fake: features of the pictures under test.

    Returns:
        The discrepancy in float64; papers often give it times 1000.

    Raises:
        ValueError: when the features differ in length, or a set has fewer than two.

    Example:
        >>> kernel_distance(torch.tensor([[0.0], [0.0]]), torch.tensor([[1.0], [1.0]])).item()
        7.0
    """
    _check_features(real, fake)
    real, fake = real.double(), fake.double()
    return _mean_of_pairs(real) + _mean_of_pairs(fake) - 2 * _kernel(real, fake).mean()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_of_pairs(x: Tensor) -> Tensor:
    """Mean kernel of two different items."""
    kernel = _kernel(x, x)
    pairs: Tensor = (kernel.sum() - kernel.trace()) / (len(x) * (len(x) - 1))
    return pairs


def _moments(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number, sum and sum of outer products, in float64: what batches and processes add up."""
    features = features.double()
    return features.new_tensor(len(features)), features.sum(dim=0), features.T @ features


def _frechet_compute(real: tuple[Tensor, Tensor, Tensor], fake: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    (mean_r, cov_r), (mean_f, cov_f) = _normal(*real), _normal(*fake)
    # The product's square root has the trace of that of a symmetric matrix, whose eigenvalues are real:
    # sqrt(cov_r) cov_f sqrt(cov_r).
    values, vectors = torch.linalg.eigh(cov_r)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    shared = torch.linalg.eigvalsh(root @ cov_f @ root).clamp(min=0).sqrt().sum()
    distance: Tensor = (mean_r - mean_f).square().sum() + cov_r.trace() + cov_f.trace() - 2 * shared
    return distance


def _normal(count: Tensor, total: Tensor, outer: Tensor) -> tuple[Tensor, Tensor]:
    mean = total / count
    return mean, (outer - count * torch.outer(mean, mean)) / (count - 1)


def _check_features(real: Tensor, fake: Tensor) -> None:
    for name, features in {"real": real, "fake": fake}.items():
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(
                f"{name}: expected features of at least two pictures, (n, dim), got shape {tuple(features.shape)}"
            )
    if real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"real and fake: expected features of one length, got {real.shape[1]} and {fake.shape[1]} numbers"
        )
