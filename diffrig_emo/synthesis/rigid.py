"""Rotations, and the rigid motion of a head between two poses, for what is fastened to it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def rotate(
    points: Float[Tensor, "batch n_points 3"], rotation: Float[Tensor, "batch 3 3"]
) -> Float[Tensor, "batch n_points 3"]:
    """Rotate points: `R p`, rounded alike whatever the batch size (a matrix product is not).

    Example:
        >>> quarter_turn = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
        >>> rotate(torch.tensor([[[2.0, 0.0, 5.0]]]), quarter_turn).tolist()
        [[[0.0, 2.0, 5.0]]]
    """
    first, second, third = (points[..., i, None] * rotation[:, None, :, i] for i in range(3))
    return first + second + third


def rigid_motion(
    before: Float[Tensor, "batch n_points 3"], after: Float[Tensor, "batch n_points 3"]
) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch 1 3"]]:
    """Rotation and offset that carry one point set to another in the least-squares sense (Kabsch, 1976).

    Args:
        before: points, metres.
        after: the same points elsewhere.

    Returns:
        `rotation` and `offset` with `after` about `rotate(before, rotation) + offset`.

    Example:
        >>> points = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]]])
        >>> rotation, offset = rigid_motion(points, points + 5)
        >>> bool(torch.allclose(rotation, torch.eye(3), atol=1e-5)), bool(torch.allclose(offset, torch.tensor(5.0)))
        (True, True)
    """
    a, b = before.mean(dim=1, keepdim=True), after.mean(dim=1, keepdim=True)
    u, _, vt = torch.linalg.svd((after - b).mT @ (before - a))
    # A reflection may fit better; the last singular vector is then turned round.
    flip = torch.ones_like(u[:, 0])
    flip[:, 2] = torch.linalg.det(u @ vt).sign()
    rotation = (u * flip[:, None]) @ vt
    return rotation, b - rotate(a, rotation)
