"""Normals of a face with its wrinkles, in UV space: DECA's displacement map, seen by light."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffrig_emo.renderer.fragments import Rasterizer
from diffrig_emo.renderer.interpolate import interpolate, vertex_normals
from diffrig_emo.renderer.torch_rasterizer import TorchRasterizer
from diffrig_emo.structures import FaceMesh, MeshTopology

# Texels at the map's border that get no triangles, as in DECA.
_MARGIN_X, _MARGIN_Y = 2, 5


def detail_normals(
    mesh: FaceMesh,
    topology: MeshTopology,
    displacement: Float[Tensor, "batch 1 size size"],
    face_mask: Float[Tensor, "size size"],
    fixed_displacement: Float[Tensor, "size size"],
    rasterizer: Rasterizer | None = None,
) -> Float[Tensor, "batch 3 size size"]:
    """Normal map of the displaced face (DECA's detail decoder, Feng et al., 2021; blended as DiffusionRig does).

    `M' = M + (mask D + D_fixed) N`, where M and N are the surface's positions and normals drawn in UV space;
    the normals of M', as a grid of triangles, inside the mask, and N outside.

    Args:
        mesh: posed faces, world metres.
        topology: faces and texture coordinates.
        displacement: D, along the normal, metres.
        face_mask: 1 where the displacement applies, 0 elsewhere; row 0 lies at v = 1.
        fixed_displacement: D_fixed, the same for every face, metres.
        rasterizer: backend; None is `TorchRasterizer()`.

    Returns:
        World normals, of length 1 inside the mask, interpolated outside; row 0 lies at v = 1.

    Raises:
        ValueError: when the maps have different sizes or are too small.
    """
    size = displacement.shape[-1]
    maps = (displacement.shape[2:], face_mask.shape, fixed_displacement.shape)
    if any(shape != (size, size) for shape in maps) or size < 16:
        raise ValueError(
            "displacement, face_mask and fixed_displacement: expected square maps of one size of at least 16, "
            f"got {tuple(displacement.shape)}, {tuple(face_mask.shape)} and {tuple(fixed_displacement.shape)}"
        )
    flat = topology.uvs * topology.uvs.new_tensor([2.0, -2.0]) + topology.uvs.new_tensor([-1.0, 1.0])
    chart = torch.nn.functional.pad(flat, (0, 1))[None]
    fragments = (rasterizer or TorchRasterizer())(chart, topology.uv_faces, (size, size))
    # The chart is the same for every face; only what is drawn on it differs.
    fragments = fragments[[0] * mesh.batch_size]
    vertices = mesh.vertices
    normals = vertex_normals(vertices, topology.faces)
    position, normal = interpolate(fragments, (vertices, topology.faces), (normals, topology.faces))
    displaced = position + (displacement * face_mask + fixed_displacement) * normal
    points = displaced.flatten(2).transpose(1, 2)
    fine = vertex_normals(points, _grid_faces(size, points.device)).transpose(1, 2).reshape(normal.shape)
    return torch.lerp(normal, fine, face_mask)


def _grid_faces(size: int, device: torch.device) -> Int[Tensor, "n_faces 3"]:
    """Two triangles per texel, counter-clockwise seen from outside, cut along the rising diagonal."""
    rows = torch.arange(_MARGIN_Y, size - _MARGIN_Y - 1, device=device)
    columns = torch.arange(_MARGIN_X, size - _MARGIN_X - 1, device=device)
    corner = (rows[:, None] * size + columns).flatten()
    right, below = corner + 1, corner + size
    upper = torch.stack([below, right, corner], dim=1)
    lower = torch.stack([below, below + 1, right], dim=1)
    return torch.cat([upper, lower])
