"""Faces in 3D as files: texture map, meshes with and without wrinkles, a turntable."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.io.mesh import write_mesh
from diffrig_emo.io.video import write_frames
from diffrig_emo.morphable import (
    FLAME,
    DetailDecoder,
    FaceModel,
    FlameTexture,
    SyntheticHead,
    SyntheticTexture,
    TextureModel,
    read_detail_maps,
)
from diffrig_emo.renderer import PhotoTexture, mirrored_texels, photo_texture, resample_to_uv, turntable
from diffrig_emo.structures import FaceCodes, MeshTopology
from diffrig_emo.structures.codes import EVEN_LIGHT
from diffrig_emo.synthesis.detail_mesh import displaced_mesh
from diffrig_emo.utils.assets import find_asset

MeshFormat = Literal["obj", "ply", "glb"]

_CHIN = 8
"""Number of the chin among the 68 landmarks."""
_COLLAR = (0.010, 0.030)
"""Metres below the chin: from where on the photograph counts less, and where it ends."""


@dataclasses.dataclass(frozen=True)
class FaceSpace:
    """What codes of one space mean: a face, and its albedo where a texture space was found."""

    model: FaceModel
    texture: TextureModel | None

    def mean(self, like: FaceCodes) -> FaceCodes:
        """The mean face, looking ahead."""
        sizes = {name: torch.zeros_like(getattr(like, name)) for name in ("shape", "tex", "exp", "pose")}
        return like.replace(**sizes, eye_pose=None, translation=None)

    def albedo(self, codes: FaceCodes) -> Float[Tensor, "batch 3 size size"]:
        """The model's albedo; without a texture space an even grey, to which the photograph gives its colour."""
        if self.texture is None:
            return codes.tex.new_full((codes.batch_size, 3, 8, 8), 0.5)
        albedo: Tensor = self.texture(codes.tex)
        return albedo


@dataclasses.dataclass(frozen=True)
class Head:
    """One posed face, ready to be written."""

    vertices: Float[Tensor, "n_vertices 3"]
    """World metres."""
    topology: MeshTopology


def face_space(space: str) -> FaceSpace:
    """The face model of a code space, and its texture space: of the two official ones, that of DECA's codes first.

    Raises:
        FileNotFoundError: naming the file of the face model that is missing.
        ValueError: when nobody knows the space.
    """
    if space == SyntheticHead.space:
        return FaceSpace(SyntheticHead(), SyntheticTexture())
    if not space.startswith("flame"):
        raise ValueError(
            f"space: expected codes of {SyntheticHead.space!r} or of a FLAME, got {space!r}; write meshes of other "
            "models with diffrig_emo.io.mesh.write_mesh"
        )
    model = FLAME()
    if find_asset("bfm_albedo") is not None:
        return FaceSpace(model, FlameTexture(kind="bfm"))
    return FaceSpace(model, FlameTexture() if find_asset("flame_texture") is not None else None)


@torch.no_grad()
def texture_of(
    picture: Float[Tensor, "1 3 side side"],
    codes: FaceCodes,
    space: FaceSpace,
    uv_size: int = 512,
    aligned_size: int | None = None,
) -> PhotoTexture:
    """Texture map of one face from its picture (`photo_texture`), with the neck, where collars are, from the model.

    Args:
        picture: the aligned picture, RGB in [0, 1]; any size.
        codes: as it was encoded.
        space: the codes' face model.
        uv_size: side of the map in texels.
        aligned_size: side in pixels of the picture that `codes.tform` refers to; None is that of `picture`.

    Raises:
        ValueError: when the face is not in the picture.
    """
    model = space.model
    mean = model(space.mean(codes))
    height = resample_to_uv(mean.vertices[..., 1:2], model.topology, uv_size)[0, 0]
    below = mean.landmarks3d[0, _CHIN, 1] - height
    return photo_texture(
        picture,
        model(codes),
        model.topology,
        space.albedo(codes),
        codes,
        uv_size=uv_size,
        mirror=mirrored_texels(mean.vertices[0], model.topology, uv_size),
        region=((_COLLAR[1] - below) / (_COLLAR[1] - _COLLAR[0])).clamp(0, 1),
        aligned_size=aligned_size,
    )


@torch.no_grad()
def detailed_head(codes: FaceCodes, space: FaceSpace, decoder: DetailDecoder) -> Head:
    """One face with its wrinkles: those of its detail code under its expression and jaw (DECA, section 4.2).

    Args:
        codes: of one face, with `detail`.
        space: the codes' face model.
        decoder: of the file that the codes come from.

    Raises:
        FileNotFoundError: when one of DECA's two maps is missing.
        ValueError: when the codes have no `detail`.
    """
    if codes.detail is None:
        raise ValueError("FaceCodes.detail: expected wrinkle codes, got none; encode with DECA(detail=True)")
    maps = read_detail_maps()
    decoded = decoder(codes.jaw_pose, codes.exp, codes.detail)[0, 0]
    displacement = decoded * maps.face_mask.to(decoded) + maps.fixed_displacement.to(decoded)
    vertices = space.model(codes).vertices[0]
    return Head(*displaced_mesh(vertices, space.model.topology, displacement))


def write_heads(
    folder: Path, heads: Mapping[str, Head], texture: Path, formats: Sequence[MeshFormat], unlit: bool
) -> list[Path]:
    """Write each head in each format, all with one texture.

    Args:
        folder: where to; the files are called `NAME.FORMAT`.
        heads: by name.
        texture: picture file in that folder.
        formats: which formats.
        unlit: whether the texture holds the light already.

    Returns:
        The files.
    """
    written = []
    for name, head in heads.items():
        for format_ in formats:
            path = folder / f"{name}.{format_}"
            mesh = head.topology
            write_mesh(path, head.vertices, mesh.faces, mesh.uvs, mesh.uv_faces, texture, unlit)
            written.append(path)
    return written


def write_turntable(
    path: Path,
    heads: Sequence[Head],
    texture: Float[Tensor, "3 uv_size uv_size"],
    light: Float[Tensor, "9 3"] | None = None,
    num_frames: int = 48,
    size: int = 256,
    rate: float = 24,
) -> None:
    """Film heads that turn side by side.

    Args:
        path: `NAME.mp4` or `NAME.gif`.
        heads: of one topology.
        texture: RGB, about [0, 1].
        light: spherical-harmonics coefficients; None shows the texture as it is.
        num_frames: frames of the full turn.
        size: side of each head's picture in pixels.
        rate: frames per second.
    """
    vertices = torch.stack([head.vertices for head in heads])
    lights = vertices.new_zeros(len(heads), 9, 3)
    if light is None:
        lights[:, 0] = EVEN_LIGHT
    else:
        lights[:] = light
    albedo = texture.to(vertices).expand(len(heads), -1, -1, -1)
    frames = turntable(vertices, heads[0].topology, albedo, lights, num_frames=num_frames, size=size)
    write_frames(path, (torch.cat(list(pictures), dim=2) for pictures in frames), rate)
