"""Batches of unequal size on two processes give what all faces give at once."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.utilities import dim_zero_cat

from diffrig_emo import metrics
from diffrig_emo.metrics import (
    CSIM,
    FID,
    KID,
    LPIPS,
    BackgroundPreservation,
    BetaDrift,
    CodeDistancesMM,
    CodeErrors,
    ConcordanceCorrelation,
    EditQuality,
    EmotionAccuracy,
    MaskedPSNR,
    MaskedSSIM,
    ReenactmentDistances,
    ReinferenceErrors,
    TemporalJitter,
    WarpingError,
)
from diffrig_emo.structures import FaceCodes, FaceMesh

N = 11
SPLITS = (slice(0, 2), slice(2, 7)), (slice(7, 8), slice(8, 11))
"""Batches of the first and of the second process."""


def draw(*size, seed=0):
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


def codes(seed):
    parts = {"shape": 4, "tex": 3, "exp": 5, "pose": 6, "cam": 3}
    fields = {name: draw(N, size, seed=seed + i) for i, (name, size) in enumerate(parts.items())}
    return FaceCodes(**fields, light=draw(N, 9, 3, seed=seed + 9), space="s")


def pooled(image):
    return image.mean(dim=(2, 3))


def difference(a, b):
    return (a - b).abs().mean(dim=(1, 2, 3))


def model(c):
    points = torch.zeros(len(c.shape), 68, 3)
    vertices = torch.cat([c.shape, c.exp, c.jaw_pose], dim=1).reshape(-1, 4, 3)
    return FaceMesh(vertices=vertices, landmarks2d=points, landmarks3d=points)


def part(arguments, items):
    """Some of the faces; what is no batch (a flag) stays."""
    return [a if isinstance(a, bool) else a[items] for a in arguments]


A, B, FACE = draw(N, 3, 12, 12), draw(N, 3, 12, 12, seed=1), draw(N, 1, 12, 12, seed=2) > 0.5
LABEL = torch.arange(N) % 8
CASES = {
    MaskedPSNR: (MaskedPSNR, [(A, B, FACE)]),
    MaskedSSIM: (MaskedSSIM, [(A, B, FACE)]),
    EditQuality: (EditQuality, [(A, B, A.flip(0), FACE)]),
    BackgroundPreservation: (lambda: BackgroundPreservation(margin=1), [(A, B, draw(N, 1, 12, 12, seed=3) > 0.98)]),
    LPIPS: (lambda: LPIPS(difference), [(A, B)]),
    CSIM: (lambda: CSIM(pooled), [(A, B)]),
    FID: (lambda: FID(pooled, feature_dim=3), [(A, True), (B, False)]),
    KID: (lambda: KID(pooled, feature_dim=3, subset_size=N), [(A, True), (B, False)]),
    CodeErrors: (CodeErrors, [(codes(10), codes(30))]),
    ReinferenceErrors: (ReinferenceErrors, [(codes(10), codes(30), codes(50), codes(30))]),
    BetaDrift: (lambda: BetaDrift(n_shape=4), [(draw(N, 4, seed=4), draw(N, 4, seed=5))]),
    CodeDistancesMM: (lambda: CodeDistancesMM(model), [(codes(10), codes(30))]),
    ReenactmentDistances: (ReenactmentDistances, [(codes(10), codes(30))]),
    EmotionAccuracy: (EmotionAccuracy, [(draw(N, 8, seed=6), LABEL)]),
    ConcordanceCorrelation: (ConcordanceCorrelation, [(draw(N, 2, seed=7), draw(N, 2, seed=8))]),
}
"""How to make each metric, and the updates that it gets."""


def run(make, updates, splits):
    metric = make()
    for items in splits:
        for arguments in updates:
            metric.update(*part(arguments, items))
    return metric


def reduced(first, second):
    """What the first process computes: torchmetrics' own reduction, with a gathering that knows the second."""
    theirs = iter([dim_zero_cat(getattr(second, name)) for name in second._reductions])
    first.dist_sync_fn = lambda tensor, group: [tensor, next(theirs)]
    first.distributed_available_fn = lambda: True
    return first.compute()


def assert_equal(got, wanted):
    if isinstance(wanted, dict):
        assert got.keys() == wanted.keys()
        for name, value in wanted.items():
            torch.testing.assert_close(got[name], value, rtol=2e-5, atol=2e-6, equal_nan=True, msg=name)
    else:
        torch.testing.assert_close(got, wanted, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_two_processes_and_any_batches_add_up(kind):
    make, updates = CASES[kind]
    at_once = run(make, updates, [slice(0, N)]).compute()
    assert_equal(run(make, updates, [*SPLITS[0], *SPLITS[1]]).compute(), at_once)
    assert_equal(reduced(run(make, updates, SPLITS[0]), run(make, updates, SPLITS[1])), at_once)


@pytest.mark.parametrize("metric", [TemporalJitter, WarpingError])
def test_clips_on_two_processes_add_up(metric):
    clips = [draw(frames, 3, 8, 8, seed=frames) for frames in (3, 7, 4)]
    all_here, first, second = metric(), metric(), metric()
    for clip in clips:
        all_here.update(clip)
    first.update(clips[0])
    for clip in clips[1:]:
        second.update(clip)
    assert_equal(reduced(first, second), all_here.compute())


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_reset_forgets(kind):
    make, updates = CASES[kind]
    metric = run(make, updates, SPLITS[0])
    metric.reset()
    for arguments in updates:
        metric.update(*part(arguments, slice(0, N)))
    assert_equal(metric.compute(), run(make, updates, [slice(0, N)]).compute())


def test_every_metric_is_here():
    assert {kind.__name__ for kind in (*CASES, TemporalJitter, WarpingError)} == set(metrics.__all__)
