"""Vertex attributes on the texture instead of on the screen."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.renderer.fragments import Rasterizer
from diffrig_emo.renderer.interpolate import interpolate
from diffrig_emo.renderer.torch_rasterizer import TorchRasterizer
from diffrig_emo.structures import MeshTopology


def texture_coordinates(uvs: Float[Tensor, "n_uvs 2"]) -> Float[Tensor, "n_uvs 2"]:
    """Texture coordinates (u right, v up, [0, 1]) as `grid_sample` wants them: x right, y down, [-1, 1]."""
    return torch.stack([2 * uvs[:, 0] - 1, 1 - 2 * uvs[:, 1]], dim=1)


def resample_to_uv(
    values: Float[Tensor, "batch n_vertices channels"],
    topology: MeshTopology,
    uv_size: int,
    rasterizer: Rasterizer | None = None,
) -> Float[Tensor, "batch channels uv_size uv_size"]:
    """Resample vertex attributes (positions, normals, ...) to the texels of the albedo map.

    Args:
        values: attributes of the vertices.
        topology: faces and texture coordinates.
        uv_size: side of the map in texels.
        rasterizer: backend; None is `TorchRasterizer()`.

    Returns:
        A map with row 0 at v = 1; 0 on texels that belong to no face.

    Example:
        >>> corners = torch.tensor([[0, 1, 2]])
        >>> topology = MeshTopology(faces=corners, uvs=torch.tensor([[0.0, 0], [2, 0], [0, 2]]), uv_faces=corners)
        >>> resample_to_uv(torch.tensor([[[0.0], [4.0], [8.0]]]), topology, uv_size=1).flatten().tolist()
        [3.0]
    """
    flat = texture_coordinates(topology.uvs.to(values.dtype))
    screen = torch.cat([flat, torch.zeros_like(flat[:, :1])], dim=1)[None]
    texels = (rasterizer or TorchRasterizer())(screen, topology.uv_faces, (uv_size, uv_size))
    shared = values.movedim(0, 1).flatten(1)  # the batch as channels: all its items share the texels
    flat_map = interpolate(texels, (shared, topology.faces))[0]
    return flat_map.view(len(values), -1, uv_size, uv_size)
