"""Triangle meshes as OBJ, PLY and GLB, with their texture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from trimesh.exchange.ply import export_ply
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.images import write_image
from diffrig_emo.io.obj import check_mesh, write_obj

MESH_FORMATS = (".obj", ".ply", ".glb")
"""Suffixes that `write_mesh` knows."""


def write_mesh(
    path: str | Path,
    vertices: Float[Tensor, "n_vertices 3"],
    faces: Int[Tensor, "n_faces 3"],
    uvs: Float[Tensor, "n_uvs 2"] | None = None,
    uv_faces: Int[Tensor, "n_faces 3"] | None = None,
    texture: Float[Tensor, "3 height width"] | Path | None = None,
    unlit: bool = False,
) -> None:
    """Write a mesh; the suffix chooses the format.

    OBJ (`write_obj`) has each vertex once, whatever seams the texture has: the model's own vertices in the model's own
    order. PLY and GLB know one texture coordinate per vertex, so vertices on a seam come again at the end; the first
    `n_vertices` are the model's. Normals are smooth across seams. World axes (+y up, +z out of the face, metres) are
    those of glTF. A GLB holds its texture, a PLY names it (`comment TextureFile`, as MeshLab reads it).

    Args:
        path: `NAME.obj`, `NAME.ply` or `NAME.glb`; missing folders are made. The file appears when it is complete.
        vertices: positions, metres; float32 in all formats.
        faces: vertex indices, counter-clockwise seen from outside.
        uvs: texture coordinates in [0, 1], v up.
        uv_faces: texture-coordinate indices.
        texture: RGB in [0, 1] (clamped), row 0 at v = 1, written as `NAME.png` beside an OBJ or PLY; or a picture file
            in the mesh's folder, which several meshes then share.
        unlit: the texture holds the light already, so viewers shall add none (`illum 0`, `KHR_materials_unlit`; PLY
            cannot say it).

    Raises:
        ValueError: when the suffix is unknown, a tensor has another shape, holds NaN or infinity, an index points
            outside, a texture comes without coordinates, or its file lies in another folder.
        FileNotFoundError: when the texture's file does not exist.

    Example:
        >>> import tempfile, torch
        >>> corners = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_mesh(f"{folder}/a.glb", corners, torch.tensor([[0, 1, 2]]))
        ...     print(trimesh.load_mesh(f"{folder}/a.glb").area)
        0.5
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in MESH_FORMATS:
        raise ValueError(f"{path}: expected a name that ends in {', '.join(MESH_FORMATS)}, got {path.suffix!r}")
    check_mesh(path, vertices, faces, uvs, uv_faces, texture)
    if suffix == ".obj":
        write_obj(path, vertices, faces, uvs, uv_faces, texture, unlit)
        return
    mesh = _split_seams(vertices, faces, uvs, uv_faces)
    if suffix == ".glb":
        if texture is not None:
            mesh.visual.material = _material(texture)  # type: ignore[union-attr]
        exported = mesh.export(
            file_type="glb", include_normals=True, tree_postprocessor=_without_light if unlit else None
        )
        assert isinstance(exported, bytes)
        content = exported
    else:
        content = export_ply(mesh, vertex_normal=True)
        if texture is not None:
            name = texture.name if isinstance(texture, Path) else f"{path.stem}.png"
            # Not written by trimesh, though it reads it.
            content = content.replace(b"element vertex", f"comment TextureFile {name}\nelement vertex".encode(), 1)
            if isinstance(texture, Tensor):
                write_image(path.with_suffix(".png"), texture)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _split_seams(vertices: Tensor, faces: Tensor, uvs: Tensor | None, uv_faces: Tensor | None) -> trimesh.Trimesh:
    """One texture coordinate per vertex: those with more come again, after all others, with the same normal."""
    places, corners = vertices.detach().cpu().numpy(), faces.cpu().numpy()
    whole = trimesh.Trimesh(places, corners, process=False)
    if uvs is None or uv_faces is None:
        return trimesh.Trimesh(places, corners, vertex_normals=whole.vertex_normals, process=False)
    pairs, inverse = np.unique(
        np.stack([corners.ravel(), uv_faces.cpu().numpy().ravel()], axis=1), axis=0, return_inverse=True
    )
    owner = pairs[:, 0]
    first = np.r_[True, owner[1:] != owner[:-1]]  # pairs are sorted by vertex
    new = np.where(first, owner, len(places) + np.cumsum(~first) - 1)
    vertex_of = np.r_[np.arange(len(places)), owner[~first]]
    coordinates = np.zeros((len(vertex_of), 2))
    coordinates[new] = uvs.detach().cpu().numpy()[pairs[:, 1]]
    return trimesh.Trimesh(
        places[vertex_of],
        new[inverse.reshape(-1, 3)],
        vertex_normals=whole.vertex_normals[vertex_of],
        visual=TextureVisuals(uv=coordinates),
        process=False,
    )


def _without_light(tree: dict[str, Any]) -> None:
    tree["extensionsUsed"] = [*tree.get("extensionsUsed", []), "KHR_materials_unlit"]
    for material in tree.get("materials", []):
        material.setdefault("extensions", {})["KHR_materials_unlit"] = {}


def _material(texture: Tensor | Path) -> PBRMaterial:
    """Matt, and seen from both sides, as the renderer draws faces."""
    if isinstance(texture, Path):
        picture = Image.open(texture).convert("RGB")
    else:
        levels = (texture.detach().cpu().float().clamp(0, 1) * 255).round().byte()
        picture = Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())
    return PBRMaterial(baseColorTexture=picture, metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True)
