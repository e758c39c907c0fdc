"""Axis-angle rotations and Euler angles, by way of unit quaternions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def to_quaternion(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternion (w, x, y, z) of an axis-angle vector in radians."""
    half = torch.linalg.vector_norm(axis_angle, dim=-1, keepdim=True) / 2
    # torch.sinc(x) is sin(pi x) / (pi x), so sin(half) / (2 half) needs no case for zero.
    return torch.cat([half.cos(), axis_angle * torch.sinc(half / torch.pi) / 2], dim=-1)


def to_axis_angle(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3"]:
    """Axis-angle vector, of at most pi radians, of a unit quaternion (w, x, y, z)."""
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    sine = torch.linalg.vector_norm(quaternion[..., 1:], dim=-1, keepdim=True)
    half = torch.atan2(sine, quaternion[..., :1])
    return quaternion[..., 1:] * 2 / torch.sinc(half / torch.pi)


def euler_to_axis_angle(angles: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Axis-angle vector of turns about x, then the turned y, then the twice turned z: `R = R_x R_y R_z`.

    Args:
        angles: the three angles, radians.

    Returns:
        Axis-angle, radians, at most pi long.

    Example:
        >>> euler_to_axis_angle(torch.tensor([0.5, 0.0, 0.0])).round(decimals=6).tolist()
        [0.5, 0.0, 0.0]
    """
    (cos_x, cos_y, cos_z), (sin_x, sin_y, sin_z) = (f(angles / 2).unbind(-1) for f in (torch.cos, torch.sin))
    # The product q_x q_y q_z of the three quaternions (cos, sin * axis).
    quaternion = [
        cos_x * cos_y * cos_z - sin_x * sin_y * sin_z,
        sin_x * cos_y * cos_z + cos_x * sin_y * sin_z,
        cos_x * sin_y * cos_z - sin_x * cos_y * sin_z,
        cos_x * cos_y * sin_z + sin_x * sin_y * cos_z,
    ]
    return to_axis_angle(torch.stack(quaternion, dim=-1))


def slerp(
    start: Float[Tensor, "*batch 3"], end: Float[Tensor, "*batch 3"], weight: Float[Tensor, "*batch 1"]
) -> Float[Tensor, "*batch 3"]:
    """Turn from one rotation to another at constant speed, the short way (Shoemake, 1985).

    Args:
        start: axis-angle at weight 0, radians.
        end: axis-angle at weight 1, radians.
        weight: how far to go; beyond 0..1 the turn continues.

    Returns:
        Axis-angle, radians, at most pi long.

    Example:
        >>> ahead, left = torch.zeros(3), torch.tensor([0.0, 1.0, 0.0])
        >>> slerp(ahead, left, torch.tensor([0.25])).round(decimals=3).tolist()
        [0.0, 0.25, 0.0]
    """
    a, b = to_quaternion(start), to_quaternion(end)
    b = torch.where((a * b).sum(-1, keepdim=True) < 0, -b, b)
    # The angle between a and b; atan2 of chords is exact for small angles, where acos is not.
    angle = 2 * torch.atan2(
        torch.linalg.vector_norm(b - a, dim=-1, keepdim=True), torch.linalg.vector_norm(b + a, dim=-1, keepdim=True)
    )
    # sin(w angle) / sin(angle), written with sinc so that equal rotations need no case.
    scale = torch.sinc(angle / torch.pi)
    part_a = (1 - weight) * torch.sinc((1 - weight) * angle / torch.pi) / scale
    part_b = weight * torch.sinc(weight * angle / torch.pi) / scale
    return to_axis_angle(torch.nn.functional.normalize(part_a * a + part_b * b, dim=-1))
