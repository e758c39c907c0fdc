"""FID and KID against scipy's matrix root, the formula in numpy, and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd
from torchmetrics.wrappers import FeatureShare

from diffrig_emo.metrics import FID, KID
from diffrig_emo.metrics.functional import frechet_distance, kernel_distance


class Features(nn.Module):
    """Twelve numbers of a picture, and how often it was asked."""

    num_features = 12

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, image):
        self.calls += 1
        return nn.functional.adaptive_avg_pool2d(image, 2).flatten(1)


@pytest.fixture
def pictures():
    """Real ones, and fewer that are brighter and less varied."""
    generator = torch.Generator().manual_seed(3)
    real = torch.rand(60, 3, 8, 8, generator=generator)
    fake = 0.4 + 0.5 * torch.rand(45, 3, 8, 8, generator=generator)
    return real, fake


@pytest.fixture
def features(pictures):
    return [Features()(p).double() for p in pictures]


def numpy_fid(real, fake):
    mean = real.mean(0) - fake.mean(0)
    covs = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    return mean @ mean + np.trace(covs[0] + covs[1] - 2 * sqrtm(covs[0] @ covs[1]).real)


def numpy_mmd(real, fake):
    """The unbiased estimate, sum by sum (Gretton et al. 2012, eq. 3)."""

    def kernel(x, y):
        return (np.dot(x, y) / len(x) + 1) ** 3

    n, m = len(real), len(fake)
    xx = sum(kernel(real[i], real[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(kernel(fake[i], fake[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(kernel(x, y) for x in real for y in fake) / (n * m)


def test_frechet_distance_is_scipys(features):
    real, fake = features
    assert frechet_distance(real, fake).item() == pytest.approx(numpy_fid(real.numpy(), fake.numpy()), rel=1e-8)


def test_frechet_distance_of_fewer_pictures_than_numbers(features):
    """Where the covariances have no full rank, sqrtm is at its weakest, and the nuclear norm is exact."""
    real, fake = features[0][:7], features[1][:9]
    root = (real - real.mean(0)).numpy() @ (fake - fake.mean(0)).numpy().T
    shared = np.linalg.svd(root, compute_uv=False).sum() / np.sqrt(6 * 8)
    traces = np.trace(np.cov(real.T)) + np.trace(np.cov(fake.T))
    wanted = float((real.mean(0) - fake.mean(0)).square().sum()) + traces - 2 * shared
    assert frechet_distance(real, fake).item() == pytest.approx(wanted, abs=1e-6)


def test_frechet_distance_of_two_gaussians_in_closed_form():
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(4000, 3, generator=generator, dtype=torch.float64)
    white = white - white.mean(0)
    white = white @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(white.T))).T  # exactly unit covariance
    scale, shift = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([1.0, 0.0, -2.0]).double()
    # |shift|^2 + sum (scale - 1)^2
    assert frechet_distance(white, white * scale + shift).item() == pytest.approx(5 + 1 + 0.25, rel=1e-9)
    assert frechet_distance(white, white).item() == pytest.approx(0, abs=1e-9)


def test_fid_is_torchmetrics(pictures):
    ours, theirs = FID(Features(), feature_dim=12), FrechetInceptionDistance(Features(), normalize=True)
    for real, batch in zip((True, False), pictures, strict=True):
        for part in (slice(0, 13), slice(13, 40), slice(40, 60)):
            ours.update(batch[part], real=real)
            theirs.update(batch[part], real=real)
    torch.testing.assert_close(ours.compute(), theirs.compute(), rtol=1e-4, atol=1e-6)


def test_kernel_distance_is_the_unbiased_formula(features):
    real, fake = features
    assert kernel_distance(real, fake).item() == pytest.approx(numpy_mmd(real.numpy(), fake.numpy()), rel=1e-9)


def test_kernel_distance_is_torchmetrics_for_sets_of_one_size(features):
    real, fake = features[0][:45], features[1]
    torch.testing.assert_close(kernel_distance(real, fake), poly_mmd(real, fake))


def test_kernel_distance_is_unbiased():
    """Samples of six out of one distribution have zero on average."""
    generator = torch.Generator().manual_seed(5)
    draws = torch.randn(500, 2, 6, 2, generator=generator)
    values = torch.stack([kernel_distance(*pair) for pair in draws])
    assert abs(values.mean()) < 4 * values.std() / len(values) ** 0.5


def test_kid_of_whole_sets_is_the_kernel_distance(pictures, features):
    metric = KID(Features(), 12, subset_size=45, subsets=3)
    for part in (slice(0, 10), slice(10, 45)):
        metric.update(pictures[0][part], real=True)
        metric.update(pictures[1][part], real=False)
    figures = metric.compute()
    assert figures["kid"].item() == pytest.approx(kernel_distance(features[0][:45], features[1]).item(), rel=1e-5)
    assert figures["kid_std"] < 1e-7


def test_kid_draws_subsets_by_its_seed_alone(pictures):
    def run(seed):
        metric = KID(Features(), 12, subset_size=10, subsets=5, seed=seed)
        metric.update(pictures[0], real=True)
        metric.update(pictures[1], real=False)
        return metric.compute()

    state = torch.get_rng_state()
    first = run(0)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(7)
    assert run(0) == first
    assert run(1)["kid"] != first["kid"]
    assert first["kid_std"] > 0


def test_fid_and_kid_share_one_run_of_the_network(pictures):
    network = Features()
    both = FeatureShare([FID(network, feature_dim=12), KID(network, 12, subset_size=10)])
    for real, batch in zip((True, False), pictures, strict=True):
        both.update(batch, real=real)
    figures = both.compute()
    assert network.calls == 2
    alone = FID(Features(), feature_dim=12)
    alone.update(pictures[0], real=True)
    alone.update(pictures[1], real=False)
    torch.testing.assert_close(figures["FID"], alone.compute())


def test_a_process_without_pictures_can_be_gathered(pictures):
    """By its states' shapes: gathering fails where one process has (0,) and another (n, 12)."""
    metric = KID(Features(), 12)
    assert [f.shape for f in metric.real_features] == [(0, 12)]
    metric.update(pictures[0], real=True)
    metric.reset()
    assert [f.shape for f in metric.real_features] == [(0, 12)]
    with pytest.raises(ValueError, match="real pictures, got 0"), pytest.warns(UserWarning, match="before the"):
        metric.compute()


def test_bad_input_is_named(pictures):
    with pytest.raises(ValueError, match=r"real: expected features of at least two pictures, .* got shape \(1, 4\)"):
        frechet_distance(torch.zeros(1, 4), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="features of one length, got 4 and 5 numbers"):
        kernel_distance(torch.zeros(2, 4), torch.zeros(2, 5))
    with pytest.raises(ValueError, match="expected feature_dim=2048 numbers, got 12"):
        FID(Features()).update(pictures[0], real=True)
    with pytest.raises(ValueError, match="expected feature_dim=2048 numbers, got 12"):
        KID(Features()).update(pictures[0], real=True)
    with pytest.raises(ValueError, match=r"one vector per picture, \(batch, dim\), got \(60, 3, 8, 8\); pool it"):
        FID(nn.Identity()).update(pictures[0], real=True)
    with pytest.raises(ValueError, match="subset_size: expected at least 2, got 1"):
        KID(Features(), subset_size=1)
    lonely = FID(Features(), feature_dim=12)
    lonely.update(pictures[0], real=True)
    lonely.update(pictures[0][:1], real=False)
    with pytest.raises(ValueError, match="at least two fake pictures, got 1"):
        lonely.compute()
    few = KID(Features(), 12)
    few.update(pictures[0], real=True)
    with pytest.raises(ValueError, match="at least subset_size=1000 real pictures, got 60; add pictures or make"):
        few.compute()
