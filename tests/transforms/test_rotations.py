from __future__ import annotations

import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from diffrig_emo.transforms.rotations import euler_to_axis_angle, slerp, to_axis_angle, to_quaternion


def test_quaternions_are_scipys():
    vectors = torch.randn(40, 3, dtype=torch.float64) * 2
    expected = Rotation.from_rotvec(vectors.numpy()).as_quat(scalar_first=True)
    torch.testing.assert_close(to_quaternion(vectors), torch.from_numpy(expected))
    short = torch.from_numpy(Rotation.from_rotvec(vectors.numpy()).as_rotvec())
    torch.testing.assert_close(to_axis_angle(to_quaternion(vectors)), short)
    torch.testing.assert_close(to_axis_angle(-to_quaternion(vectors)), short)


def test_euler_angles_are_scipys():
    angles = torch.randn(40, 3, dtype=torch.float64) * 2
    expected = Rotation.from_euler("XYZ", angles.numpy()).as_rotvec()
    torch.testing.assert_close(euler_to_axis_angle(angles), torch.from_numpy(expected))
    assert not euler_to_axis_angle(torch.zeros(2, 3)).any()


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_slerp_is_scipys(weight):
    start, end = torch.randn(30, 3, dtype=torch.float64), torch.randn(30, 3, dtype=torch.float64)
    turned = slerp(start, end, torch.tensor([weight], dtype=torch.float64))
    for a, b, actual in zip(start, end, turned, strict=True):
        pair = Rotation.from_rotvec(torch.stack([a, b]).numpy())
        expected = Slerp([0, 1], pair)(weight)
        assert (expected.inv() * Rotation.from_rotvec(actual.numpy())).magnitude() < 1e-7


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-5, 1.0])
def test_equal_and_almost_equal_rotations(size):
    start = torch.randn(5, 3)
    turned = slerp(start, start + size, torch.tensor([0.5]))
    assert torch.isfinite(turned).all()
    if size < 1:
        torch.testing.assert_close(turned, start + size / 2, atol=1e-5, rtol=0)


def test_goes_on_beyond_the_end():
    end = torch.tensor([[0.0, 0.4, 0.0]])
    torch.testing.assert_close(slerp(torch.zeros(1, 3), end, torch.tensor([2.0])), 2 * end)


def test_gradients_where_rotations_meet():
    start = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    turned = slerp(start, torch.zeros(1, 3, dtype=torch.float64), torch.tensor([0.25], dtype=torch.float64))
    (gradient,) = torch.autograd.grad(turned.sum(), start)
    assert torch.isfinite(gradient).all()
