"""A face with its wrinkles as a mesh: DECA's displacement map, applied to finer triangles."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample
from trimesh.remesh import subdivide

from diffrig_emo.renderer import texture_coordinates, vertex_normals
from diffrig_emo.structures import MeshTopology


def displaced_mesh(
    vertices: Float[Tensor, "n_vertices 3"],
    topology: MeshTopology,
    displacement: Float[Tensor, "size size"],
    levels: int = 2,
) -> tuple[Float[Tensor, "n_fine 3"], MeshTopology]:
    """Move a face along its normals by a displacement map (Feng et al., 2021, section 4.2, equation 5).

    `M' = M + D N`: every triangle is cut into four, `levels` times; N is interpolated from the coarse normals; D is
    sampled where the vertex lies on the texture. A vertex on a seam of the texture lies there at several places and
    moves by their mean, so a closed mesh stays closed.

    Args:
        vertices: posed face, world metres.
        topology: its triangles and texture coordinates.
        displacement: D, metres outwards: DECA's is `uv_face_eye_mask * decoded + fixed_displacement`. Row 0 lies at
            v = 1.
        levels: how often triangles are cut; 2 gives FLAME a vertex every 1.5 mm or so, as fine as the map's 256 texels.

    Returns:
        The displaced vertices, of which the first `n_vertices` are the given ones moved, and the finer topology, which
        depends on the coarse one alone.

    Raises:
        ValueError: when the map is not square, or `levels` is negative.

    Example:
        >>> corners = torch.tensor([[0, 1, 2]])
        >>> flat = MeshTopology(faces=corners, uvs=torch.tensor([[0.0, 0], [1, 0], [0, 1]]), uv_faces=corners)
        >>> wing = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]])
        >>> raised, finer = displaced_mesh(wing, flat, torch.full((8, 8), 0.002), levels=1)
        >>> tuple(raised.shape), tuple(finer.faces.shape), raised[:, 2].unique().tolist()
        ((6, 3), (4, 3), [0.00200...])
    """
    if displacement.ndim != 2 or displacement.shape[0] != displacement.shape[1]:
        raise ValueError(f"displacement: expected a square map, got {tuple(displacement.shape)}")
    if levels < 0:
        raise ValueError(f"levels: expected 0 or more, got {levels}")
    normals = vertex_normals(vertices[None], topology.faces)[0]
    surface, faces = torch.cat([vertices, normals], dim=1).detach().cpu().double().numpy(), topology.faces.cpu().numpy()
    uvs, uv_faces = topology.uvs.cpu().double().numpy(), topology.uv_faces.cpu().numpy()
    for _ in range(levels):
        # New triangles come in the order of the old, on the surface as on the texture.
        surface, faces = subdivide(surface, faces)
        uvs, uv_faces = subdivide(uvs, uv_faces)
    finer = MeshTopology(
        faces=torch.from_numpy(faces).to(topology.faces),
        uvs=torch.from_numpy(uvs).to(topology.uvs),
        uv_faces=torch.from_numpy(uv_faces).to(topology.uv_faces),
    )
    grid = texture_coordinates(finer.uvs)[None, None].to(displacement)
    heights = grid_sample(displacement[None, None], grid, padding_mode="border", align_corners=False).flatten()
    moved, normal = torch.from_numpy(surface).to(vertices).split(3, dim=1)
    mean = _mean_of_corners(heights[finer.uv_faces], finer.faces, len(moved)).to(vertices)
    return moved + mean[:, None] * torch.nn.functional.normalize(normal, dim=1), finer


def _mean_of_corners(values: Float[Tensor, "n_faces 3"], faces: Tensor, n_vertices: int) -> Float[Tensor, " n"]:
    """Mean over the corners that meet in each vertex; 0 where none does."""
    corners = faces.flatten()
    total = values.new_zeros(n_vertices).index_add(0, corners, values.flatten())
    return total / values.new_zeros(n_vertices).index_add(0, corners, torch.ones_like(values).flatten()).clamp(min=1)
