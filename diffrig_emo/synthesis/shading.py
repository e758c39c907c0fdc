"""Light on the photograph that the buffers do not know: cast shadows, highlights, and the film's shoulder."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from diffrig_emo.renderer import Rasterizer, sh_shading
from diffrig_emo.synthesis.rigid import rotate

_SHADOW_SIZE, _SHADOW_REACH = 128, 0.16  # shadow map: side in pixels, half its side in metres
_SHADOW_BIAS = 0.003  # metres: less than this in front of a surface casts nothing on it


def lamp_screen(
    vertices: Float[Tensor, "batch n_vertices 3"],
    centre: Float[Tensor, "batch 1 3"],
    direction: Float[Tensor, "batch 3"],
) -> Float[Tensor, "batch n_vertices 3"]:
    """See vertices from the lamp: x right, y up in [-1, 1] over the shadow map, smaller z nearer to the lamp.

    Args:
        vertices: world, metres.
        centre: what the shadow map is centred on.
        direction: unit vector to the lamp.
    """
    side = normalize(
        torch.linalg.cross(direction.new_tensor([[0.0, 1.0, 0.0]]).expand_as(direction), direction), dim=-1
    )
    frame = torch.stack([side, torch.linalg.cross(direction, side), -direction], dim=1)
    return rotate(vertices - centre, frame) / _SHADOW_REACH


def cast_shadow(
    rasterizer: Rasterizer,
    lamp_vertices: Float[Tensor, "batch n_vertices 3"],
    faces: Int[Tensor, "n_faces 3"],
    seen: Float[Tensor, "batch 3 height width"],
) -> Float[Tensor, "batch 1 height width"]:
    """How much of the lamp is hidden, 0 to 1: percentage-closer filtering of a shadow map (Reeves et al., 1987).

    Args:
        rasterizer: looks from the lamp.
        lamp_vertices: vertices seen from the lamp (`lamp_screen`).
        faces: their triangles.
        seen: the surface points of the photograph, seen from the lamp.
    """
    n = _SHADOW_SIZE
    fragments = rasterizer(lamp_vertices, faces, (n, n))
    nearest = torch.where(fragments.pix_to_face >= 0, fragments.zbuf - 10, 1e3).flatten()
    own_map = torch.arange(len(seen), device=seen.device).view(-1, 1, 1) * n * n
    x, y = ((seen[:, i] + 1) * n / 2 - 0.5 for i in (0, 1))
    hidden = torch.zeros_like(x)
    for dx in (-1.4, 0.0, 1.4):
        for dy in (-1.4, 0.0, 1.4):
            column, row = ((t + d).round().clamp(0, n - 1).long() for t, d in ((x, dx), (y, dy)))
            depth = nearest.index_select(0, (own_map + row * n + column).flatten()).view_as(x)
            gap = (seen[:, 2] - depth) * (_SHADOW_REACH / _SHADOW_BIAS)
            hidden += (gap - 1).clamp(0, 1)
    return hidden[:, None] / 9


def shade(
    normal: Float[Tensor, "batch 3 height width"],
    light: Float[Tensor, "batch 9 3"],
    direction: Float[Tensor, "batch 3"],
    lamp: Float[Tensor, "batch 3"],
    shadow: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """Spherical-harmonics shading, as in the buffers, less what the shadow takes of the dominant lamp.

    Args:
        normal: world normals.
        light: spherical-harmonics coefficients.
        direction: unit vector to the dominant lamp.
        lamp: its colour.
        shadow: how much of it is hidden.
    """
    shading = sh_shading(normal, light)
    facing = (normal * direction[..., None, None]).sum(dim=1, keepdim=True).clamp(min=0)
    # Light scatters inside skin: shadows lose less red.
    scatter = lamp.new_tensor([0.78, 0.88, 0.92])
    taken = shadow * facing * (lamp * scatter)[..., None, None]
    return torch.maximum(shading - taken, 0.25 * shading).clamp(min=0.03)


def highlight(
    normal: Float[Tensor, "batch 3 height width"],
    direction: Float[Tensor, "batch 3"],
    lamp: Float[Tensor, "batch 3"],
    gloss: Float[Tensor, "batch 1 height width"],
    sharpness: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """Blinn-Phong highlight of the dominant lamp for a camera far in front: `gloss * lamp * (n . h)^sharpness`.

    Args:
        normal: world normals.
        direction: unit vector to the lamp.
        lamp: its colour.
        gloss: strength.
        sharpness: exponent.
    """
    half = normalize(direction + direction.new_tensor([0.0, 0.0, 1.0]), dim=1)[..., None, None]
    length = (normal * normal).sum(dim=1, keepdim=True).sqrt().clamp(min=1e-4)
    cosine = ((normal * half).sum(dim=1, keepdim=True) / length).clamp(1e-4, 1)
    return gloss * cosine**sharpness * lamp[..., None, None]


def shoulder(colour: Tensor, knee: float = 0.8) -> Tensor:
    """Compress what is brighter than `knee` smoothly below 1, as film and cameras do.

    Example:
        >>> shoulder(torch.tensor([0.5, 0.8, 1.5])).round(decimals=2).tolist()
        [0.5, 0.800..., 0.99...]
    """
    over = (colour - knee).clamp(min=0) / (1 - knee)
    return colour.clamp(max=knee) + (1 - knee) * (1 - torch.exp(-over))
