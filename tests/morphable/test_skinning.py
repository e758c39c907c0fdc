from __future__ import annotations

import pytest
import torch
from scipy.spatial.transform import Rotation

from diffrig_emo.morphable.skinning import joint_transforms, linear_blend_skinning, rodrigues


def test_rodrigues_is_scipys():
    vectors = torch.randn(50, 2, 3, dtype=torch.float64) * 2
    expected = Rotation.from_rotvec(vectors.reshape(-1, 3).numpy()).as_matrix()
    torch.testing.assert_close(rodrigues(vectors).reshape(-1, 3, 3), torch.from_numpy(expected), atol=1e-7, rtol=0)


def test_rodrigues_at_zero():
    zero = torch.zeros(3, requires_grad=True)
    matrix = rodrigues(zero)
    assert torch.equal(matrix, torch.eye(3))
    (gradient,) = torch.autograd.grad(matrix[1, 0], zero)  # d R_yx / d z = 1
    torch.testing.assert_close(gradient, torch.tensor([0.0, 0.0, 1.0]))


def test_one_rigid_joint_is_a_rotation_about_it():
    rest, joint = torch.randn(2, 7, 3).double(), torch.randn(2, 1, 3).double()
    turn = rodrigues(torch.randn(2, 1, 3).double())
    posed = linear_blend_skinning(rest, joint, turn, [-1], torch.ones(7, 1).double())
    expected = (rest - joint) @ turn[:, 0].transpose(1, 2) + joint
    torch.testing.assert_close(posed, expected)


def test_chain_carries_children_along():
    joints = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]]).double()
    quarter = torch.tensor([0.0, 0.0, torch.pi / 2]).double()
    turns = rodrigues(torch.stack([quarter, 0 * quarter, quarter])[None])
    rest = torch.tensor([[[3.0, 0, 0]]]).double()
    # Root and tip turn by 90 degrees each: the tip joint goes to (0, 2), and the point behind it to (-1, 2).
    posed = linear_blend_skinning(rest, joints, turns, [-1, 0, 1], torch.tensor([[0.0, 0, 1]]).double())
    torch.testing.assert_close(posed, torch.tensor([[[-1.0, 2, 0]]]).double(), atol=1e-7, rtol=0)


def test_rest_pose_stays():
    rest, joints = torch.randn(2, 9, 3), torch.randn(2, 3, 3)
    weights = torch.rand(9, 3).softmax(dim=1)
    posed = linear_blend_skinning(rest, joints, torch.eye(3).expand(2, 3, 3, 3), [-1, 0, 0], weights)
    torch.testing.assert_close(posed, rest)


def test_gradients():
    rest, joints, angles = (torch.randn(1, n, 3, dtype=torch.float64, requires_grad=True) for n in (4, 3, 3))
    weights = torch.rand(4, 3, dtype=torch.float64)

    def pose(rest, joints, angles):
        return linear_blend_skinning(rest, joints, rodrigues(angles), [-1, 0, 1], weights)

    assert torch.autograd.gradcheck(pose, (rest, joints, angles))


@pytest.mark.parametrize("parents", [[-1, 0], [0, 0, 1], [-1, 2, 1], [-1, 0, 4294967295]])
def test_bad_parents(parents):
    with pytest.raises(ValueError, match="parents: expected"):
        joint_transforms(torch.zeros(1, 3, 3), torch.zeros(1, 3, 3, 3), parents)
