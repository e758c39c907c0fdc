"""The default rasterizer: pure PyTorch, any device, no compiler, no loop over faces or batch.

The boxes of all faces of all meshes are cut into small square tiles; the pixels of a block of tiles are tested together
with one broadcast subtraction; and the survivors compete for their pixels in one scatter-min over an integer that
holds depth in its high and the face in its low half, so that depth ties fall to the lower face.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffrig_emo.renderer.fragments import Fragments, check_rasterizer_input
from diffrig_emo.renderer.interpolate import barycentric_fragments
from diffrig_emo.renderer.ndc import EPSILON, doubled_area, edge_functions, ndc_planes, pixel_centres, to_pixel

_UNSEEN = torch.iinfo(torch.int64).max
_CPU_BLOCK = 2**17


class TorchRasterizer:
    """Exact z-buffer in PyTorch, with the conventions of `Rasterizer`.

    Args:
        block_size: candidate pixels tested at once. It bounds memory and never changes the result. None takes what
            stays inside a CPU's cache, and 32 times as much on other devices.

    Example:
        >>> corners = torch.tensor([[[-1.0, -1.0, 0.0], [-1.0, 3.0, 0.0], [3.0, -1.0, 0.0]]])
        >>> seen = TorchRasterizer()(corners, torch.tensor([[0, 1, 2]]), (2, 4))
        >>> seen.pix_to_face.tolist()
        [[[0, 0, 0, 0], [0, 0, 0, 0]]]
    """

    def __init__(self, block_size: int | None = None) -> None:
        if block_size is not None and block_size < 1:
            raise ValueError(f"block_size: expected a positive number of candidate pixels or None, got {block_size}")
        self.block_size = block_size

    def __call__(
        self,
        screen_vertices: Float[Tensor, "batch n_vertices 3"],
        faces: Int[Tensor, "n_faces 3"],
        size: tuple[int, int],
    ) -> Fragments:
        """See `Rasterizer`."""
        check_rasterizer_input(screen_vertices, faces, size)
        block_size = self.block_size or (_CPU_BLOCK if screen_vertices.device.type == "cpu" else 32 * _CPU_BLOCK)
        pix_to_face = nearest_faces(screen_vertices, faces, size, block_size)
        return barycentric_fragments(screen_vertices, faces, pix_to_face)


@torch.no_grad()
def nearest_faces(
    screen_vertices: Float[Tensor, "batch n_vertices 3"],
    faces: Int[Tensor, "n_faces 3"],
    size: tuple[int, int],
    block_size: int,
) -> Int[Tensor, "batch height width"]:
    """Index of the nearest face at every pixel centre, -1 where there is none; decided in float32."""
    height, width = size
    batch, n_faces = len(screen_vertices), len(faces)
    planes = ndc_planes(screen_vertices.float(), size)
    corners = planes.view(3 * batch, -1).index_select(1, faces.t().flatten()).view(3, batch, 3, n_faces)
    corners = corners.transpose(1, 2).reshape(9, -1)  # x0 x1 x2 y0 y1 y2 z0 z1 z2, by item * n_faces + face
    tiles, side = _cut_into_tiles(corners.view(3, 3, -1), size)

    border = planes.new_full((side,), torch.nan)  # a tile may reach over the border: no comparison with NaN holds
    xs = torch.cat([pixel_centres(width, height, planes), border])
    ys = torch.cat([pixel_centres(height, width, planes), border])
    steps = torch.arange(side, device=planes.device)
    step_to_pixel = (steps[:, None] * width + steps).flatten()
    best = torch.full((batch * height * width,), _UNSEEN, dtype=torch.int64, device=planes.device)
    for face, left, top in zip(*(torch.split(t, max(1, block_size // side**2)) for t in tiles), strict=True):
        x, y, z = corners.index_select(1, face).view(3, 3, -1)
        area = doubled_area(x, y) + EPSILON
        mirror = area.sign()  # mirrored, a clockwise face turns the other way, without rounding
        px = xs.index_select(0, (left + steps[:, None]).flatten()).view(side, -1) * mirror
        py = ys.index_select(0, (top + steps[:, None]).flatten()).view(side, 1, -1)
        edges = edge_functions(x * mirror, y, px, py)  # (side, side, tile) each
        inside = torch.minimum(torch.minimum(edges[0], edges[1]), edges[2]) > 0
        step, tile = inside.flatten(0, 1).nonzero().t().contiguous()

        candidate = step * len(face) + tile
        area = (area * mirror).index_select(0, tile)
        w0, w1, w2 = (edge.flatten().index_select(0, candidate) / area for edge in edges)
        z = z.index_select(1, tile)
        depth = w0 * z[0] + w1 * z[1] + w2 * z[2]
        item, face = face // n_faces, face % n_faces
        pixel = ((item * height + top) * width + left).index_select(0, tile) + step_to_pixel.index_select(0, step)
        # The bits of positive floats are ordered like the floats.
        rank = (depth.view(torch.int32).to(torch.int64) << 32) | face.index_select(0, tile)
        best.scatter_reduce_(0, pixel, rank, "amin")
    # The low half of `_UNSEEN` is -1.
    return best.to(torch.int32).to(torch.int64).view(batch, height, width)


def _cut_into_tiles(
    corners: Float[Tensor, "3 3 n"], size: tuple[int, int]
) -> tuple[tuple[Tensor, Tensor, Tensor], int]:
    """Cover the pixel boxes of all faces with square tiles.

    Args:
        corners: coordinate, corner, face; NDC.
        size: (height, width) of the picture.

    Returns:
        Face, left column and top row of every tile, and the side of the tiles in pixels.
    """
    height, width = size
    slack = 1e-3  # pixels; beyond the rounding of `to_pixel`
    x, y, z = corners
    first_column = (to_pixel(x.amax(0), width, height) - slack).ceil().clamp(min=0)
    first_row = (to_pixel(y.amax(0), height, width) - slack).ceil().clamp(min=0)
    n_columns = (to_pixel(x.amin(0), width, height) + slack).floor().clamp(max=width - 1) - first_column + 1
    n_rows = (to_pixel(y.amin(0), height, width) + slack).floor().clamp(max=height - 1) - first_row + 1
    area = doubled_area(x, y).abs()
    solid = (area > EPSILON) & (area < math.inf)
    drawn = (solid & (z.amin(0) >= EPSILON) & (n_columns > 0) & (n_rows > 0)).nonzero().squeeze(1)
    n_columns, n_rows, first_column, first_row = (
        torch.stack([n_columns, n_rows, first_column, first_row]).index_select(1, drawn).to(torch.int64)
    )
    mean_box = float((n_columns * n_rows).sum()) / max(1, len(drawn))
    side = min(16, max(2, 2 ** round(math.log2(max(1.0, mean_box)) / 2)))
    across, down = (n_columns + (side - 1)) // side, (n_rows + (side - 1)) // side
    count = across * down
    owner = torch.repeat_interleave(count)
    nth = torch.arange(len(owner), device=owner.device) - (count.cumsum(0) - count).index_select(0, owner)
    across = across.index_select(0, owner)
    left = first_column.index_select(0, owner) + nth % across * side
    top = first_row.index_select(0, owner) + nth // across * side
    return (drawn.index_select(0, owner), left, top), side
