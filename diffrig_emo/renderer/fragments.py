"""What a rasterizer answers, and the interface that every rasterizer has."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor

from diffrig_emo.structures.base import TensorStruct


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Fragments(TensorStruct):
    """The nearest surface point behind every pixel centre."""

    pix_to_face: Int[Tensor, "batch height width"]
    """Index into the mesh's faces; -1 where no face covers the pixel centre."""
    bary_coords: Float[Tensor, "batch height width 3"]
    """Weights of the face's three corners, all > 0; -1 on the background. They sum to 1 up to 1e-8 / area."""
    zbuf: Float[Tensor, "batch height width"]
    """Depth of the surface point, screen z + 10; -1 on the background."""


class Rasterizer(Protocol):
    """Anything that finds the face behind every pixel.

    All backends agree to the letter with pytorch3d's `rasterize_meshes` (blur radius 0, one face per pixel,
    no culling, no perspective correction):

    * The centre of pixel (i, j) of an H x W picture is at x = (2j + 1) / W - 1, y = (2i + 1) / H - 1.
    * A centre belongs to a face only when it lies strictly inside; back faces count like front faces.
    * Skipped are faces with a doubled screen area of at most 1e-8 (square pixels, short side [-1, 1]), and faces
      with a corner at screen z <= -10, the plane of the camera.
    * The smallest z wins; on a tie, the face with the lowest index.
    * Which face wins is decided in float32 and has no gradient; `bary_coords` and `zbuf` have gradients to
      `screen_vertices`.
    """

    def __call__(
        self,
        screen_vertices: Float[Tensor, "batch n_vertices 3"],
        faces: Int[Tensor, "n_faces 3"],
        size: tuple[int, int],
    ) -> Fragments:
        """Rasterize a batch of meshes that share their faces.

        Args:
            screen_vertices: x right and y down in [-1, 1] over the picture; smaller z is nearer. float32 or float64.
            faces: vertex indices of the corners.
            size: (height, width) of the picture in pixels.

        Returns:
            The fragments; empty where nothing is in view (whether that is an error is the caller's decision).

        Raises:
            ValueError: naming the argument, when a shape, dtype or index is wrong.
        """
        ...


def check_rasterizer_input(screen_vertices: Tensor, faces: Tensor, size: tuple[int, int]) -> None:
    """Say which argument of a `Rasterizer` is wrong.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    if screen_vertices.ndim != 3 or screen_vertices.shape[-1] != 3 or 0 in screen_vertices.shape:
        raise ValueError(
            f"screen_vertices: expected shape (batch, n_vertices, 3), nothing empty, got {tuple(screen_vertices.shape)}"
        )
    if screen_vertices.dtype.itemsize < 4 or not screen_vertices.is_floating_point():
        raise ValueError(
            f"screen_vertices: expected float32 or float64, got {screen_vertices.dtype}, too coarse for pixel "
            "positions; run the face model outside autocast, or convert with .float()"
        )
    if faces.ndim != 2 or faces.shape[-1] != 3 or len(faces) == 0 or faces.is_floating_point():
        raise ValueError(f"faces: expected integers of shape (n_faces >= 1, 3), got {faces.dtype} {tuple(faces.shape)}")
    if faces.device != screen_vertices.device:
        raise ValueError(f"faces: expected on {screen_vertices.device} like screen_vertices, got {faces.device}")
    low, high = (int(v) for v in faces.aminmax())
    if low < 0 or high >= screen_vertices.shape[1]:
        raise ValueError(
            f"faces: expected indices of the {screen_vertices.shape[1]} vertices, got {low} to {high}; "
            "mesh and topology belong to different models"
        )
    if min(size) < 1:
        raise ValueError(f"size: expected a (height, width) of at least one pixel, got {size}")
