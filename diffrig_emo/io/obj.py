"""Wavefront OBJ: triangle meshes with texture coordinates and a texture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.images import write_image


class ObjMesh(NamedTuple):
    """Contents of an OBJ file."""

    vertices: Float[Tensor, "n_vertices 3"]
    """Positions."""
    faces: Int[Tensor, "n_faces 3"]
    """Vertex indices of the triangles, from 0."""
    uvs: Float[Tensor, "n_uvs 2"]
    """Texture coordinates, v up; empty when the file has none."""
    uv_faces: Int[Tensor, "n_faces 3"] | None
    """Texture-coordinate indices of the triangles, from 0; None when the file has none."""


def read_obj(path: str | Path) -> ObjMesh:
    """Read the vertices, texture coordinates and triangles of an OBJ file.

    Normals, materials and groups are passed over.

    Args:
        path: the file.

    Returns:
        The mesh, float32 and int64.

    Raises:
        ValueError: naming the file and the line, when a record cannot be read, a face is no triangle, or an
            index points outside.
    """
    vertices: list[list[float]] = []
    uvs: list[list[float]] = []
    faces: list[list[int]] = []
    uv_faces: list[list[int]] = []
    with Path(path).open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            record, *values = line.split() or [""]
            try:
                if record == "v":
                    vertices.append(_floats(values, 3))
                elif record == "vt":
                    uvs.append(_floats(values, 2))
                elif record == "f":
                    corners = [value.split("/") for value in values]
                    if len(corners) != 3:
                        raise ValueError(f"expected a triangle, got {len(corners)} corners; triangulate the mesh")
                    faces.append([_index(corner[0], len(vertices)) for corner in corners])
                    if all(len(corner) > 1 and corner[1] for corner in corners):
                        uv_faces.append([_index(corner[1], len(uvs)) for corner in corners])
            except ValueError as error:
                raise ValueError(f"{path}, line {number} ({line.strip()[:60]!r}): {error}") from error
    if not vertices or not faces:
        raise ValueError(f"{path}: expected a mesh, got {len(vertices)} vertices and {len(faces)} faces")
    if len(uv_faces) not in (0, len(faces)):
        raise ValueError(f"{path}: expected texture coordinates on all {len(faces)} faces or none, got {len(uv_faces)}")
    mesh = ObjMesh(
        torch.tensor(vertices),
        torch.tensor(faces),
        torch.tensor(uvs).reshape(-1, 2),
        torch.tensor(uv_faces) if uv_faces else None,
    )
    _require_inside(f"{path}: vertex index", mesh.faces, len(vertices))
    if mesh.uv_faces is not None:
        _require_inside(f"{path}: texture-coordinate index", mesh.uv_faces, len(uvs))
    return mesh


def write_obj(
    path: str | Path,
    vertices: Float[Tensor, "n_vertices 3"],
    faces: Int[Tensor, "n_faces 3"],
    uvs: Float[Tensor, "n_uvs 2"] | None = None,
    uv_faces: Int[Tensor, "n_faces 3"] | None = None,
    texture: Float[Tensor, "3 height width"] | Path | None = None,
    unlit: bool = False,
) -> None:
    """Write a mesh as `NAME.obj`, and its texture as `NAME.mtl` and `NAME.png` beside it.

    Not by a library: those that we know write one texture coordinate per vertex, so a model's vertices would no longer
    be the file's where the texture has seams.

    Each file appears only when it is complete, the OBJ last, so it never names a texture that is missing.

    Args:
        path: the OBJ file; missing folders are made.
        vertices: positions; the coordinates are written with all digits of a float32.
        faces: vertex indices, from 0.
        uvs: texture coordinates in [0, 1], v up.
        uv_faces: texture-coordinate indices, from 0.
        texture: albedo, RGB in [0, 1] (clamped); row 0 lies at v = 1. Or a picture file in the same folder, which
            several meshes then share.
        unlit: the texture holds the light already, so viewers shall add none (`illum 0`).

    Raises:
        ValueError: when a tensor has another shape, holds NaN or infinity, an index points outside, a texture comes
            without coordinates, or its file lies in another folder.
        FileNotFoundError: when the texture's file does not exist.
    """
    path = Path(path)
    if path.suffix.lower() != ".obj":
        raise ValueError(f"{path}: expected a name that ends in .obj")
    check_mesh(path, vertices, faces, uvs, uv_faces, texture)

    lines = [f"mtllib {path.stem}.mtl", "usemtl face"] if texture is not None else []
    lines += [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in vertices.tolist()]
    corners = (faces + 1).tolist()
    if uvs is None or uv_faces is None:
        lines += [f"f {a} {b} {c}" for a, b, c in corners]
    else:
        lines += [f"vt {u:.9g} {v:.9g}" for u, v in uvs.tolist()]
        uv_corners = (uv_faces + 1).tolist()
        lines += [f"f {a}/{i} {b}/{j} {c}/{k}" for (a, b, c), (i, j, k) in zip(corners, uv_corners, strict=True)]
    if texture is not None:
        if isinstance(texture, Tensor):
            write_image(path.with_suffix(".png"), texture)
        picture = f"{path.stem}.png" if isinstance(texture, Tensor) else texture.name
        material = [
            "newmtl face",
            "Ka 0 0 0",
            "Kd 1 1 1",
            "Ks 0 0 0",
            f"illum {0 if unlit else 1}",
            f"map_Kd {picture}",
        ]
        _write_lines(path.with_suffix(".mtl"), material)
    _write_lines(path, lines)


def check_mesh(
    path: Path,
    vertices: Tensor,
    faces: Tensor,
    uvs: Tensor | None,
    uv_faces: Tensor | None,
    texture: Tensor | Path | None,
) -> None:
    """Say what is wrong with a mesh that is to be written; arguments and errors as for `write_obj`."""
    if (uvs is None) != (uv_faces is None):
        raise ValueError("uvs and uv_faces: expected both or neither, got one")
    if texture is not None and uvs is None:
        raise ValueError("texture: expected uvs and uv_faces with it, got none")
    _require_table("vertices", vertices, 3)
    _require_table("faces", faces, 3)
    _require_inside("faces", faces, len(vertices))
    if uvs is not None and uv_faces is not None:
        _require_table("uvs", uvs, 2)
        _require_table("uv_faces", uv_faces, 3)
        _require_inside("uv_faces", uv_faces, len(uvs))
        if len(uv_faces) != len(faces):
            raise ValueError(f"uv_faces: expected {len(faces)} rows as in faces, got {len(uv_faces)}")
    if isinstance(texture, Path):
        if not texture.is_file():
            raise FileNotFoundError(f"texture: expected a picture file, but {texture} does not exist")
        if texture.resolve().parent != path.resolve().parent:
            raise ValueError(f"texture: expected a file in {path.parent}, beside {path.name}, got {texture}")


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _floats(values: Sequence[str], count: int) -> list[float]:
    if len(values) < count:
        raise ValueError(f"expected {count} numbers, got {len(values)}")
    return [float(value) for value in values[:count]]


def _index(text: str, count: int) -> int:
    """Turn OBJ's 1-based index into a 0-based one; a negative one counts back from the last record read."""
    index = int(text)
    return count + index if index < 0 else index - 1


def _require_inside(name: str, indices: Tensor, count: int) -> None:
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= count:
        raise ValueError(f"{name}: expected 0..{count - 1} (counted from 0), got {low}..{high}")


def _require_table(name: str, values: Tensor, columns: int) -> None:
    if values.ndim != 2 or values.shape[1] != columns or not len(values):
        raise ValueError(f"{name}: expected a tensor of shape (n, {columns}), got {tuple(values.shape)}")
    if not torch.isfinite(values).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
