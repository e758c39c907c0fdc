"""The pytorch3d backend, used when pytorch3d is installed and asked for."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from diffrig_emo.renderer.fragments import Fragments, check_rasterizer_input
from diffrig_emo.renderer.ndc import ndc_planes
from diffrig_emo.utils.imports import require

_INSTALL = (
    "no package index has a build for current Pythons, so build it from source against the installed PyTorch: "
    "pip install --no-build-isolation 'git+https://github.com/facebookresearch/pytorch3d.git' "
    "(needs a C++ compiler, and nvcc for CUDA). TorchRasterizer gives the same fragments without it."
)


class Pytorch3dRasterizer:
    """pytorch3d's `rasterize_meshes`, with the conventions of `Rasterizer`.

    Its CUDA kernels are fast; its CPU code visits every face at every pixel.

    Raises:
        ImportError: when pytorch3d cannot be imported, saying how to get it.
    """

    def __init__(self) -> None:
        purpose = type(self).__name__
        rasterize = require("pytorch3d.renderer.mesh.rasterize_meshes", purpose=purpose, install=_INSTALL)
        structures = require("pytorch3d.structures.meshes", purpose=purpose, install=_INSTALL)
        self._rasterize_meshes: Any = rasterize.rasterize_meshes
        self._meshes: Any = structures.Meshes

    def __call__(
        self,
        screen_vertices: Float[Tensor, "batch n_vertices 3"],
        faces: Int[Tensor, "n_faces 3"],
        size: tuple[int, int],
    ) -> Fragments:
        """See `Rasterizer`."""
        check_rasterizer_input(screen_vertices, faces, size)
        batch = len(screen_vertices)
        ndc = ndc_planes(screen_vertices.float(), size).permute(1, 2, 0)
        meshes = self._meshes(verts=ndc, faces=faces.long().expand(batch, -1, -1))
        pix_to_face, zbuf, bary_coords, _ = self._rasterize_meshes(
            meshes, image_size=size, blur_radius=0.0, faces_per_pixel=1, perspective_correct=False
        )
        packed = pix_to_face[..., 0]
        return Fragments(
            pix_to_face=packed.where(packed < 0, packed % len(faces)),
            bary_coords=bary_coords[..., 0, :].to(screen_vertices),
            zbuf=zbuf[..., 0].to(screen_vertices),
        )
