"""Posed face geometry, and the connectivity that all faces of a model share."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float, Int
from torch import Tensor

from diffrig_emo.structures.base import TensorStruct


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MeshTopology:
    """Triangles and texture coordinates shared by every mesh of one face model (no batch axis)."""

    faces: Int[Tensor, "n_faces 3"]
    """Vertex indices, counter-clockwise seen from outside."""
    uvs: Float[Tensor, "n_uvs 2"]
    """Texture coordinates in [0, 1], v up: texture row 0 lies at v = 1."""
    uv_faces: Int[Tensor, "n_faces 3"]
    """Texture-coordinate indices of the corners of every face."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FaceMesh(TensorStruct):
    """What a `FaceModel` makes of `FaceCodes`: posed geometry in world space.

    World: metres, +x to the subject's left (image right), +y up, +z out of the face, towards the camera.
    """

    vertices: Float[Tensor, "batch n_vertices 3"]
    """Posed vertices, world."""
    landmarks2d: Float[Tensor, "batch 68 3"]
    """17 contour points that slide with the yaw, then 51 fixed ones; world."""
    landmarks3d: Float[Tensor, "batch 68 3"]
    """The fixed set of 68; world."""
    screen: Float[Tensor, "batch n_vertices 3"] | None = None
    """Projected vertices: x right and y down in [-1, 1] over the picture, smaller z is nearer."""
