"""pytorch3d's normalised device coordinates: the frame in which coverage is computed.

x points left, y up, z away from the camera and is positive in front of it. The short side of the picture spans
[-1, 1] and the long side proportionally more, so that pixels are square. Every operation is in the order of
pytorch3d's C++ code, because the winning face hangs on the last bit where faces meet.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

DEPTH_OFFSET = 10.0
"""Added to screen z, so that a head about the origin lies in front of the camera (DECA's constant)."""

EPSILON = 1e-8
"""pytorch3d's `kEpsilon`: the least doubled area of a face, the least depth, and a term in every barycentric."""


def ndc_planes(screen: Float[Tensor, "batch n 3"], size: tuple[int, int]) -> Float[Tensor, "3 batch n"]:
    """Screen points as coordinate planes in NDC."""
    height, width = size
    wide, tall = width > height, height > width
    times = screen.new_tensor([[-width if wide else -1.0], [-height if tall else -1.0], [1.0]])
    over = screen.new_tensor([[height if wide else 1.0], [width if tall else 1.0], [1.0]])
    offset = screen.new_tensor([[0.0], [0.0], [DEPTH_OFFSET]])
    planes = screen.permute(2, 0, 1).reshape(3, -1).contiguous()
    return (planes * times / over + offset).view(3, *screen.shape[:2])


def pixel_centres(n: int, n_other: int, like: Tensor) -> Float[Tensor, " n"]:
    """NDC of the pixel centres along a side of `n` pixels, from the picture's left (or top) end."""
    extent = 2.0 * max(1.0, n / n_other)
    counted_from_the_other_end = torch.arange(n - 1, -1, -1, dtype=like.dtype, device=like.device)
    return (counted_from_the_other_end * extent + extent / 2) / n - extent / 2


def to_pixel(ndc: Tensor, n: int, n_other: int) -> Tensor:
    """Inverse of `pixel_centres`: fractional pixel index (up to rounding) of an NDC coordinate."""
    extent = 2.0 * max(1.0, n / n_other)
    return (0.5 - ndc / extent) * n - 0.5


def edge_functions(
    x: Float[Tensor, "3 ..."], y: Float[Tensor, "3 ..."], px: Tensor, py: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Doubled signed areas that a point spans with the edges opposite to corners 0, 1 and 2.

    Args:
        x: NDC x of the three corners.
        y: NDC y of the three corners.
        px: NDC x of the point, broadcastable.
        py: NDC y of the point, broadcastable.

    Returns:
        E(p; v1, v2), E(p; v2, v0), E(p; v0, v1), where E(p; a, b) = (p - a) x (b - a).
    """
    e0, e1, e2 = ((px - x[a]) * (y[b] - y[a]) - (py - y[a]) * (x[b] - x[a]) for a, b in ((1, 2), (2, 0), (0, 1)))
    return e0, e1, e2


def doubled_area(x: Float[Tensor, "3 ..."], y: Float[Tensor, "3 ..."]) -> Tensor:
    """Doubled signed area E(v2; v0, v1) of triangles."""
    return (x[2] - x[0]) * (y[1] - y[0]) - (y[2] - y[0]) * (x[1] - x[0])
