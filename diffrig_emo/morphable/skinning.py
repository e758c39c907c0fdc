"""Rotations, kinematic chains and linear blend skinning, shared by every face model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def rodrigues(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Turn axis-angle vectors into rotation matrices, with a finite gradient at zero.

    `R = I + sin(a) K + (1 - cos(a)) K^2`, where a is the angle and K the cross-product matrix of the
    axis k. As in SMPL's and FLAME's code, 1e-8 is added to each component before the norm.

    Args:
        axis_angle: axis times angle, radians.

    Returns:
        Matrices that rotate column vectors.

    Example:
        >>> rodrigues(torch.tensor([0.0, 0.0, torch.pi / 2])).round(decimals=3).tolist()
        [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    angle = torch.linalg.vector_norm(axis_angle + 1e-8, dim=-1, keepdim=True)
    x, y, z = (axis_angle / angle).unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1)
    cross = cross.reshape(*axis_angle.shape, 3)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    angle = angle[..., None]
    rotation: Tensor = identity + angle.sin() * cross + (1 - angle.cos()) * (cross @ cross)
    return rotation


def joint_transforms(
    joints: Float[Tensor, "batch n_joints 3"],
    rotations: Float[Tensor, "batch n_joints 3 3"],
    parents: Sequence[int],
) -> Float[Tensor, "batch n_joints 3 4"]:
    """Follow a kinematic chain: what each joint does to a point of the rest pose.

    Args:
        joints: joint positions in the rest pose, metres.
        rotations: rotation of each joint relative to its parent.
        parents: index of each joint's parent; -1 for the root, which comes first. A parent precedes its children.

    Returns:
        `[R | t]` per joint, so that a point x that is rigidly bound to the joint moves to `R x + t`.

    Raises:
        ValueError: when `parents` is no such chain or has another length than `joints`.
    """
    if len(parents) != joints.shape[1] or rotations.shape[1] != joints.shape[1]:
        raise ValueError(
            f"parents: expected one entry per joint, got {len(parents)} for {joints.shape[1]} joints and "
            f"{rotations.shape[1]} rotations"
        )
    if parents[0] != -1 or any(not 0 <= parent < child for child, parent in enumerate(parents) if child):
        raise ValueError(f"parents: expected -1 and then, for each joint, an earlier joint; got {list(parents)}")
    turns, positions = [rotations[:, 0]], [joints[:, 0]]
    for joint, parent in list(enumerate(parents))[1:]:
        bone = (joints[:, joint] - joints[:, parent])[..., None]
        positions.append(positions[parent] + (turns[parent] @ bone)[..., 0])
        turns.append(turns[parent] @ rotations[:, joint])
    turn, position = torch.stack(turns, dim=1), torch.stack(positions, dim=1)
    shift = position[..., None] - turn @ joints[..., None]
    return torch.cat([turn, shift], dim=-1)


def linear_blend_skinning(
    rest: Float[Tensor, "batch n_vertices 3"],
    joints: Float[Tensor, "batch n_joints 3"],
    rotations: Float[Tensor, "batch n_joints 3 3"],
    parents: Sequence[int],
    weights: Float[Tensor, "n_vertices n_joints"],
) -> Float[Tensor, "batch n_vertices 3"]:
    """Pose vertices by blending the transforms of their joints.

    `v' = (sum_j w_j [R_j | t_j]) [v; 1]`: equations 2-4 of SMPL (Loper et al., 2015), as used by FLAME
    (Li et al., 2017).

    Args:
        rest: vertices in the rest pose, metres.
        joints: joint positions in the rest pose, metres.
        rotations: rotation of each joint relative to its parent, e.g. from `rodrigues`.
        parents: index of each joint's parent, -1 for the root; a parent precedes its children.
        weights: how much each joint moves each vertex; rows sum to 1.

    Returns:
        Posed vertices, metres. The root joint stays where it is.

    Raises:
        ValueError: when `parents` is no chain, root first.

    Example:
        >>> quarter = rodrigues(torch.tensor([[[0.0, 0.0, torch.pi / 2]]]))
        >>> point, joint = torch.tensor([[[2.0, 0.0, 0.0]]]), torch.tensor([[[1.0, 0.0, 0.0]]])
        >>> linear_blend_skinning(point, joint, quarter, [-1], torch.ones(1, 1)).round(decimals=3).tolist()
        [[[1.0, 1.0, 0.0]]]
    """
    transforms = joint_transforms(joints, rotations, parents)
    blended = (weights @ transforms.flatten(2)).reshape(*rest.shape, 4)
    posed: Tensor = (blended[..., :3] @ rest[..., None])[..., 0] + blended[..., 3]
    return posed
