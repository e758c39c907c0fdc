"""LPIPS and CSIM with networks that are injected, against the formulas in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from diffrig_emo.metrics import CSIM, LPIPS
from diffrig_emo.metrics.functional import csim, lpips


@pytest.fixture
def faces():
    return torch.rand(2, 7, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def mean_square(a, b):
    return (a - b).square().mean(dim=(1, 2, 3))


def test_lpips_is_the_networks_mean_over_batches_of_any_size(faces):
    pred, target = faces
    metric = LPIPS(mean_square)
    for part in (slice(0, 5), slice(5, 7)):
        metric.update(pred[part], target[part])
    wanted = ((pred - target).double().numpy() ** 2).mean(axis=(1, 2, 3))
    assert lpips(pred, target, mean_square).numpy() == pytest.approx(wanted, rel=1e-5)
    assert metric.compute().item() == pytest.approx(wanted.mean(), rel=1e-5)


def test_csim_is_numpys_cosine(faces):
    embedder = nn.Sequential(nn.Flatten(), nn.Linear(432, 16))
    metric = CSIM(embedder)
    for part in (slice(0, 2), slice(2, 7)):
        metric.update(faces[0][part], faces[1][part])
    with torch.no_grad():
        a, b = (embedder(f).double().numpy() for f in faces)
    wanted = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert metric.compute().item() == pytest.approx(wanted.mean(), rel=1e-5)
    assert csim(torch.from_numpy(a), torch.from_numpy(b)).numpy() == pytest.approx(wanted, rel=1e-9)


def test_csim_does_not_care_for_length_but_for_direction():
    towards = torch.tensor([[1.0, 2.0, 2.0]])
    assert csim(5 * towards, 0.1 * towards).item() == pytest.approx(1)
    assert csim(-towards, towards).item() == pytest.approx(-1)


def test_a_network_that_is_a_module_moves_with_the_metric():
    assert len(list(CSIM(nn.Sequential(nn.Flatten(), nn.Linear(432, 4))).parameters())) == 2


def test_gradients_reach_the_pictures(faces):
    pred = faces[0].clone().requires_grad_()
    LPIPS(mean_square)(pred, faces[1]).backward()
    assert pred.grad.abs().sum() > 0


def test_bad_input_is_named(faces):
    with pytest.raises(ValueError, match="pred and target: expected equal shapes"):
        lpips(faces[0], faces[1][:2], mean_square)
    with pytest.raises(ValueError, match=r"network: expected distances of shape \(7,\), got \(\)"):
        lpips(*faces, lambda a, b: (a - b).mean())
    with pytest.raises(ValueError, match=r"equal shapes \(batch, dim\), got \(2, 3\) and \(2, 4\)"):
        csim(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"embedder: expected one vector per picture, .* got tuple; pool it"):
        CSIM(lambda image: (image,)).update(*faces)
