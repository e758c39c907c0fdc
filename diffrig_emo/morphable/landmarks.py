"""Points tied to a mesh by barycentric coordinates, and the contour that slides with the head's yaw."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

MAX_YAW = 39
"""Degrees to either side that FLAME's contour table covers."""


def barycentric_points(
    vertices: Float[Tensor, "batch n_vertices 3"],
    faces: Int[Tensor, "n_faces 3"],
    face_ids: Int[Tensor, "*batch n_points"],
    bary_coords: Float[Tensor, "*batch n_points 3"],
) -> Float[Tensor, "batch n_points 3"]:
    """Find points inside triangles: `p = sum_k bary_k v[faces[face_id, k]]`.

    Args:
        vertices: mesh vertices, any frame.
        faces: vertex indices of the triangles.
        face_ids: triangle of each point, shared by the batch (n_points) or per item (batch, n_points).
        bary_coords: weights of its three corners, summing to 1; shaped like `face_ids`.

    Returns:
        The points, in the frame of `vertices`.

    Example:
        >>> triangle = torch.tensor([[[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 3.0, 0.0]]])
        >>> corners, weights = torch.tensor([[0, 1, 2]]), torch.tensor([[0.5, 0.25, 0.25]])
        >>> barycentric_points(triangle, corners, torch.tensor([0]), weights).tolist()
        [[[0.75, 0.75, 0.0]]]
    """
    batch = torch.arange(len(vertices), device=vertices.device)[:, None, None]
    corners = vertices[batch, faces[face_ids].expand(len(vertices), -1, -1)]
    return (bary_coords[..., None] * corners).sum(dim=-2)


def contour_rows(head_rotation: Float[Tensor, "batch 3 3"]) -> Int[Tensor, " batch"]:
    """Choose the row of FLAME's contour table that belongs to the head's yaw.

    Rows 0..39 hold the contours of 0..39 degrees, rows 40..78 those of -1..-39 degrees. The yaw is clamped
    above before it is rounded (half to even), and below after it, as in DECA.

    Args:
        head_rotation: rotation of the head in the world.

    Returns:
        Rows 0..78. Positive yaw turns the face towards +x (image right).

    Example:
        >>> contour_rows(torch.eye(3)[None]).tolist()
        [0]
    """
    first = head_rotation[:, :, 0]
    yaw = torch.rad2deg(torch.atan2(-first[:, 2], torch.linalg.vector_norm(first[:, :2], dim=-1)))
    degrees = yaw.clamp(max=MAX_YAW).round().long()
    return torch.where(degrees >= 0, degrees, MAX_YAW - degrees.clamp(min=-MAX_YAW))
