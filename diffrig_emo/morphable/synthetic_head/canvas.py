"""Where each texel of the atlas lies on the head, and soft masks painted in those coordinates."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from scipy.ndimage import distance_transform_edt

from diffrig_emo.morphable.synthetic_head import anatomy, chart
from diffrig_emo.morphable.synthetic_head.anatomy import Array, smoothstep
from diffrig_emo.morphable.synthetic_head.geometry import ISLANDS, build_geometry


@dataclasses.dataclass(frozen=True)
class Canvas:
    """Coordinates of a square atlas of texels; row 0 lies at v = 1."""

    size: int
    xyz: Array
    """(U, U, 3) place on the mean head's skin, metres (meaningless in the strip of small islands)."""
    longitude: Array
    """(U, U) chart longitude, radians."""
    on_skin: Array
    """(U, U) 1 inside the skin's island."""
    local: dict[str, tuple[Array, Array, Array]]
    """Island name to its mask and local u, v."""


@functools.cache
def build_canvas(size: int) -> Canvas:
    """Locate every texel (cached; treat the arrays as read-only)."""
    centre = (np.arange(size) + 0.5) / size
    u, v = np.broadcast_to(centre, (size, size)), np.broadcast_to(1 - centre[:, None], (size, size))
    local = {}
    for name, (u0, v0, u1, v1) in ISLANDS.items():
        gap = 0.0 if name == "skin" else 0.5 / size + 0.003  # paint a little beyond the border against bleeding
        inside = (u >= u0 - gap) & (u <= u1 + gap) & (v >= v0 - gap) & (v <= v1 + gap)
        local[name] = (inside.astype(np.float64), (u - u0) / (u1 - u0), (v - v0) / (v1 - v0))
    mask, skin_u, _ = local["skin"]
    a = chart.longitude_of(skin_u[0])
    xyz = _places(size)
    return Canvas(size, xyz, np.broadcast_to(a, (size, size)), mask, local)


def _places(size: int) -> Array:
    """(U, U, 3) points of the skin seen by the texels; those in holes and gaps take their nearest neighbour's."""
    head = build_geometry()
    skin = (head.part == "skin")[head.faces].all(axis=1)
    corner, place = head.uvs[head.uv_faces[skin]] * size - 0.5, head.vertices[head.faces[skin]]
    # Candidate texels: every triangle's bounding box.
    low, high = np.ceil(corner.min(axis=1)).astype(int), np.floor(corner.max(axis=1)).astype(int)
    extent = np.maximum(high - low + 1, 0)
    count = extent.prod(axis=1)
    face = np.repeat(np.arange(len(count)), count)
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    texel = low[face] + np.stack([number % extent[face, 0], number // extent[face, 0]], axis=-1)
    origin, edges = corner[face, 0], corner[face, 1:] - corner[face, :1]
    area = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
    x, y = (texel - origin).T
    second = (x * edges[:, 1, 1] - y * edges[:, 1, 0]) / area
    third = (y * edges[:, 0, 0] - x * edges[:, 0, 1]) / area
    bary = np.stack([1 - second - third, second, third], axis=-1)
    hit = (bary > -1e-9).all(axis=1)
    column, row = texel[hit].T
    xyz = np.full((size, size, 3), np.nan)
    xyz[size - 1 - row, column] = (bary[hit, :, None] * place[face[hit]]).sum(axis=1)
    nearest = distance_transform_edt(np.isnan(xyz[..., 0]), return_distances=False, return_indices=True)
    return np.asarray(xyz[tuple(nearest)])


def blob(canvas: Canvas, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Array:
    """Gaussian spot on both sides of the face; centre and radii in mm."""
    q = canvas.xyz.copy()
    q[..., 0] = np.abs(q[..., 0])
    return np.asarray(
        np.exp(-(((q - np.array(centre) * 1e-3) / (np.array(radii) * 1e-3)) ** 2).sum(-1)) * canvas.on_skin
    )


def strands(canvas: Canvas, along: float, across: float) -> Array:
    """Deterministic hair-like grain in [0, 1]: streaks that run down the head."""
    x, y = canvas.longitude * chart.RADIUS / across, canvas.xyz[..., 1] / along
    wave = (
        np.sin(x * 2.1 + 1.3 * np.sin(y * 1.7))
        + np.sin(x * 3.7 + 1.9 * np.sin(y * 2.3 + 1))
        + np.sin(x * 5.9 - y * 1.1)
    )
    return np.asarray(0.5 + wave / 6)


def mottle(canvas: Canvas, phase: float, scale: float) -> Array:
    """Smooth low-frequency pattern in about [-1, 1], the same on both sides."""
    x, y, z = np.abs(canvas.xyz[..., 0]) / scale, canvas.xyz[..., 1] / scale, canvas.xyz[..., 2] / scale
    first = np.sin(2.3 * x + 1.7 * y + phase) * np.cos(1.9 * y - 2.1 * z + 1.7 * phase)
    second = np.sin(3.1 * z - 2.7 * x + 2.3 * phase) * np.cos(2.9 * x + 1.3 * y + 0.7 * phase)
    return np.asarray((first + second) / 1.6 * canvas.on_skin)


def lips(canvas: Canvas) -> tuple[Array, Array]:
    """Vermilion of the lips, and the dark line between them."""
    x, y = canvas.xyz[..., 0], canvas.xyz[..., 1]
    over = y - anatomy.lip_line(x)
    inside = np.where(over > 0, anatomy.upper_lip_height(x) - over, anatomy.lower_lip_height(x) + over)
    near = canvas.on_skin * (canvas.xyz[..., 2] > 0.06) * smoothstep(0.0262, 0.0238, np.abs(x))
    return smoothstep(-0.0007, 0.0011, inside) * near, np.exp(-((over / 0.0010) ** 2)) * near


def brows(canvas: Canvas, thickness: float = 1.0, drop: float = 0.0) -> Array:
    """Eyebrows; `drop` lowers them, metres."""
    x, y = np.abs(canvas.xyz[..., 0]) * 1e3, canvas.xyz[..., 1] * 1e3 + drop * 1e3
    t = np.clip((x - 10.0) / 39.0, 0, 1)
    middle = anatomy.brow_line(canvas.xyz[..., 0]) * 1e3
    half = thickness * (3.0 * (1 - t) ** 0.6 * (0.75 + 0.25 * smoothstep(0.0, 0.15, t)) + 0.65)
    body = smoothstep(1.3, -1.4, np.abs(y - middle) - half) * smoothstep(8.6, 12.0, x) * smoothstep(50.5, 45.5, x)
    hairs = 0.90 + 0.10 * np.sin(2.1 * x - 1.1 * y)
    return np.asarray(body * hairs * canvas.on_skin * (canvas.xyz[..., 2] > 0.03))


def lid_coordinates(canvas: Canvas) -> tuple[Array, Array, Array]:
    """For the nearer eye: x from its centre, height over the upper rim, depth under the lower rim; metres."""
    dx = np.abs(canvas.xyz[..., 0]) - anatomy.EYE_CENTRE[0]
    dy = canvas.xyz[..., 1] - anatomy.EYE_CENTRE[1]
    angle = np.linspace(0, np.pi, 181)
    upper_x, upper_y = anatomy.lid_contour(angle)
    lower_x, lower_y = anatomy.lid_contour(-angle)
    top = np.interp(dx, upper_x[::-1], upper_y[::-1])
    bottom = np.interp(dx, lower_x[::-1], lower_y[::-1])
    return dx, dy - top, bottom - dy


def scalp(canvas: Canvas, lift: float = 0.0) -> Array:
    """Hair painted on the scalp; `lift` raises the hairline, metres."""
    a = np.abs(canvas.longitude)
    edge_a = [0.0, 0.35, 0.60, 0.78, 0.95, 1.12, 1.30, 1.42, 1.62, 1.85, 2.4, np.pi]
    edge_y = [0.0805, 0.0820, 0.0800, 0.0715, 0.0560, 0.0400, 0.0120, -0.0120, -0.0150, -0.0420, -0.0620, -0.0680]
    ragged = 0.0030 * (strands(canvas, 0.02, 0.0060) - 0.5)
    front = smoothstep(1.3, 0.9, a)
    return (
        smoothstep(-0.0060, 0.0085, canvas.xyz[..., 1] - np.interp(a, edge_a, edge_y) - lift * front + ragged)
        * canvas.on_skin
    )
