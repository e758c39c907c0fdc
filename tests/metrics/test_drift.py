"""Drift of identity against pairs written out, and millimetres on meshes that are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from diffrig_emo.metrics import BetaDrift, CodeDistancesMM
from diffrig_emo.metrics.functional import beta_drift, code_distances_mm, code_errors, vertex_distance
from diffrig_emo.morphable.synthetic_head import SyntheticHead
from diffrig_emo.structures import FaceCodes, StructError
from tests.fakes import FakeHead


@pytest.fixture
def shapes():
    generator = torch.Generator().manual_seed(4)
    source = 3 + torch.randn(9, 6, generator=generator)  # away from zero, where sums of squares lose digits
    return source + 0.1 * torch.randn(9, 6, generator=generator), source


def test_drift_and_people_are_root_mean_squares_over_faces_and_pairs(shapes):
    pred, source = (s.double().numpy() for s in shapes)
    figures = beta_drift(*shapes)
    drift = np.sqrt(np.mean((pred - source) ** 2))
    pairs = [np.mean((a - b) ** 2) for a, b in itertools.combinations(source, 2)]
    assert figures["drift"].item() == pytest.approx(drift, rel=1e-6)
    assert figures["between_people"].item() == pytest.approx(np.sqrt(np.mean(pairs)), rel=1e-6)
    assert figures["relative"].item() == pytest.approx(drift / np.sqrt(np.mean(pairs)), rel=1e-6)


def test_drift_is_the_shape_error_of_code_errors(shapes):
    codes = [FaceCodes.zeros(9, n_shape=6, n_tex=1, n_exp=1, space="s").replace(shape=s) for s in shapes]
    torch.testing.assert_close(beta_drift(*shapes)["drift"], code_errors(*codes)["shape"])


def test_exchanged_people_are_about_as_far_as_people_are():
    source = torch.randn(400, 20, generator=torch.Generator().manual_seed(0))
    assert beta_drift(source.roll(1, 0), source)["relative"].item() == pytest.approx(1, abs=0.05)
    assert beta_drift(source, source)["relative"] == 0


def test_one_person_has_no_distance_to_others(shapes):
    figures = beta_drift(*(s[:1] for s in shapes))
    assert figures["drift"].isfinite()
    assert figures["between_people"].isnan()


def test_bad_shapes_are_named(shapes):
    with pytest.raises(ValueError, match=r"equal shapes \(batch, n_shape\), got \(9, 6\) and \(8, 6\)"):
        beta_drift(shapes[0], shapes[1][:8])
    with pytest.raises(ValueError, match="source: expected n_shape=100 coefficients, got 6"):
        BetaDrift().update(*shapes)


def test_vertex_distance_is_the_mean_length_in_millimetres():
    generator = torch.Generator().manual_seed(1)
    pred, target = torch.rand(2, 4, 30, 3, generator=generator)
    wanted = 1000 * np.linalg.norm((pred - target).double().numpy(), axis=2).mean(axis=1)
    assert vertex_distance(pred, target).numpy() == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(ValueError, match="pred and target: expected equal shapes"):
        vertex_distance(pred, target[:2])


def fake_codes(seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = {"shape": 4, "tex": 3, "exp": 2, "pose": 6, "cam": 3}
    fields = {name: torch.randn(3, size, generator=generator) for name, size in sizes.items()}
    return FaceCodes(**fields, light=torch.randn(3, 9, 3, generator=generator), space="fake")


def test_each_group_is_measured_with_the_others_neutral():
    """The fake head is linear in its codes, so that differences add up whatever the rest."""
    head, pred, target = FakeHead(), fake_codes(0), fake_codes(1)
    distances = code_distances_mm(pred, target, head)
    for group, rows in {"shape": slice(0, 4), "exp": slice(4, 6)}.items():
        change = torch.einsum("bk,kvi->bvi", getattr(pred, group) - getattr(target, group), head.basis[rows])
        torch.testing.assert_close(distances[group], 1000 * change.norm(dim=2).mean(dim=1))
    assert distances["jaw_pose"].abs().max() < 1e-4, "this head has no jaw"


def test_the_synthetic_heads_jaw_opens_its_mouth_and_keeps_its_skull():
    head = SyntheticHead()
    target = FaceCodes.zeros(1, n_shape=head.n_shape, n_tex=1, n_exp=head.n_exp, space=head.space)
    pose = target.pose.clone()
    pose[:, 3] = 0.2
    pose[:, 0] = 1.0  # the head's rotation does not count
    metric = CodeDistancesMM(head)
    metric.update(target.replace(pose=pose, cam=target.cam * 2), target)
    figures = metric.compute()
    assert figures["shape"] == figures["exp"] == 0
    assert 0.1 < figures["jaw_pose"] < 20


def test_spaces_do_not_mix():
    with pytest.raises(StructError, match="space"):
        code_distances_mm(fake_codes(0), fake_codes(1).replace(space="other"), FakeHead())
