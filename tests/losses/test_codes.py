import pytest
import torch

from diffrig_emo.losses import CodeLoss
from diffrig_emo.structures import StructError
from tests.fakes import fake_codes


def test_equal_codes_cost_nothing():
    codes = fake_codes(3)
    assert all(value == 0 for value in CodeLoss()(codes, codes).values())


def test_one_spread_away_costs_one():
    codes = fake_codes(3)
    loss = CodeLoss(exp=0.5, cam_scale=0.2)
    moved = codes.replace(exp=codes.exp + 0.5, cam=codes.cam * torch.tensor([1.2214028, 1.0, 1.0]))
    losses = loss(moved, codes)
    assert losses["exp"] == pytest.approx(1, rel=1e-5)
    assert losses["cam_scale"] == pytest.approx(1, rel=1e-4)
    assert losses["shape"] == losses["light"] == losses["cam_shift"] == 0


def test_jaw_and_global_rotation_are_told_apart():
    codes = fake_codes(2)
    losses = CodeLoss()(codes.replace(pose=codes.pose + torch.tensor([0.0, 0, 0, 0.1, 0.1, 0.1])), codes)
    assert losses["global_rotation"] == 0
    assert losses["jaw_pose"] == pytest.approx(1, rel=1e-4)


def test_spaces_do_not_mix():
    codes = fake_codes(1)
    with pytest.raises(StructError, match="space"):
        CodeLoss()(codes, codes.replace(space="flame2020"))
