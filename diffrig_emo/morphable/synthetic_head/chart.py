"""A flat chart of the skin: where its vertices lie, how they are joined, and their texture coordinates.

The chart is a bent cylinder: longitude `a` (radians, 0 in front, positive towards the subject's left) and
height `b` (metres). Every chart point owns a ray; the skin vertex is where the ray meets the sculpt. Eyes and
mouth are holes with loops of vertices around them. One half is triangulated and mirrored, so the mesh is
exactly symmetric.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial import Delaunay, cKDTree

from diffrig_emo.morphable.synthetic_head import anatomy
from diffrig_emo.morphable.synthetic_head.anatomy import Array, smoothstep
from diffrig_emo.morphable.synthetic_head.lattice import lattice_faces
from diffrig_emo.morphable.synthetic_head.sculpt import cast, front_depth

RADIUS = 0.085  # of the cylinder
# Chart heights: above CAP_START the rays fan out to the crown, below CHIN_START they dive under the chin, below
# NECK_START they travel down the neck.
TOP, CAP_START, CHIN_START, NECK_START, BOTTOM = 0.035 + RADIUS * np.pi / 2, 0.035, -0.080, -0.135, -0.205
EYE_MARGINS = (0.0, 0.0013, 0.0030, 0.0052, 0.0078)
EYE_POINTS = 24
LIP_RINGS = (0.0, 0.22, 0.50, 0.78, 1.0)
MOUTH_MARGINS = (0.0022, 0.0050, 0.0082)
LIP_POINTS = 11
# Swell of the lips over the face, metres: position between seam (0) and border (1); upper lip; lower lip.
_LIP_PROFILE = (
    (0.0, 0.22, 0.50, 0.78, 1.0, 1.0015),
    (-0.0012, 0.0020, 0.0031, 0.0024, 0.0010, 0.0),
    (-0.0014, 0.0030, 0.0044, 0.0030, 0.0006, 0.0),
)


@dataclasses.dataclass(frozen=True)
class HalfSkin:
    """The left half of the skin (x >= 0)."""

    points: Array
    """(N, 3) vertices."""
    chart: Array
    """(N, 2) chart coordinates (a, b)."""
    faces: np.ndarray
    """(F, 3) triangles, counter-clockwise seen from outside."""
    eye_rings: np.ndarray
    """(len(EYE_MARGINS), EYE_POINTS) ids, from the lid's rim outwards, from the outer corner over the upper lid."""
    lip_rings: np.ndarray
    """(len(LIP_RINGS), 2 LIP_POINTS - 1) ids, from the seam outwards, from the midline over the upper lip to the
    corner and back along the lower lip."""


def _tilt(a: Array, b: Array) -> Array:
    """Downward tilt of the rays of the face, so that they see the underside of the nose."""
    return -0.50 * np.exp(-(((b + 0.030) / 0.012) ** 2) - (a / 0.30) ** 2)


def rays(chart: Array) -> tuple[Array, Array]:
    """Origins near the skin and unit outward directions of chart points."""
    a, b = chart[:, 0], chart[:, 1]
    front = (0.5 + 0.5 * np.cos(a)) ** 1.3
    cap = np.maximum(b - CAP_START, 0) / RADIUS
    # Under the chin the rays fan about a point inside the jaw, and then travel down the neck.
    fan = np.clip((CHIN_START - b) / (CHIN_START - NECK_START), 0, 1)
    descent = np.clip((NECK_START - b) / (NECK_START - BOTTOM), 0, 1)
    settle = smoothstep(0.0, 0.60, descent)
    tilt = _tilt(a, b) + cap - 1.30 * fan * (1 - settle) * front**3
    pivot_y = np.clip(b, CHIN_START, CAP_START)
    pivot_y = pivot_y + (1 - front) * np.minimum(b - CHIN_START, 0) + front * descent * (BOTTOM - CHIN_START)
    pivot_z = front * 0.022 * fan * (1 - settle) - 0.024 * np.maximum(settle, fan * (1 - front))
    direction = np.stack([np.sin(a) * np.cos(tilt), np.sin(tilt), np.cos(a) * np.cos(tilt)], axis=-1)
    radial = np.stack([np.sin(a), np.zeros_like(a), np.cos(a)], axis=-1)
    pivot = np.stack([np.zeros_like(a), pivot_y, pivot_z], axis=-1)
    is_face = (cap == 0) & (fan == 0)
    return pivot + RADIUS * np.where(is_face[:, None], radial, direction), direction


def to_chart(points: Array) -> Array:
    """Chart coordinates of points on the face (between chin and brow)."""
    a = np.arctan2(points[:, 0], points[:, 2])
    excess = np.hypot(points[:, 0], points[:, 2]) - RADIUS
    b = points[:, 1].copy()
    for _ in range(8):
        b = points[:, 1] - excess * np.tan(_tilt(a, b))
    return np.asarray(np.stack([a, b], axis=-1))


def _lid_sphere_depth(x: Array, y: Array) -> Array:
    dx, dy = x - anatomy.EYE_CENTRE[0], y - anatomy.EYE_CENTRE[1]
    return np.asarray(anatomy.EYE_CENTRE[2] + np.sqrt(np.maximum(anatomy.LID_RADIUS**2 - dx**2 - dy**2, 1e-6)))


def _eye_loops() -> list[Array]:
    angle = 2 * np.pi * np.arange(EYE_POINTS) / EYE_POINTS
    x, y = (
        np.stack([anatomy.lid_contour(angle, margin) for margin in EYE_MARGINS], axis=1)
        + anatomy.EYE_CENTRE[:2, None, None]
    )
    z = front_depth(x, y)
    z[0] = np.maximum(z[0], _lid_sphere_depth(x[0], y[0]))
    return list(np.stack([x, y, z], axis=-1))


def _mouth_loops() -> list[Array]:
    phi = np.pi / 2 * np.linspace(0, 1, LIP_POINTS)
    loops, bumps = [], []
    for ring in (*LIP_RINGS, *(1 + m for m in MOUTH_MARGINS)):
        inside, margin = min(ring, 1.0), max(ring - 1.0, 0.0)
        half_width = anatomy.LIP_HALF_WIDTH - 0.0015 * (1 - inside) + margin
        x = half_width * np.sin(phi)
        base = np.minimum(x, anatomy.LIP_HALF_WIDTH)
        around = margin * np.cos(phi) ** 0.8 + 0.00004 * np.cos(phi)
        upper = anatomy.lip_line(base) + inside * anatomy.upper_lip_height(base) + around
        lower = anatomy.lip_line(base) - inside * anatomy.lower_lip_height(base) - around
        profile = np.array([np.interp(ring, _LIP_PROFILE[0], heights) for heights in _LIP_PROFILE[1:]])
        corner = -0.0012 * np.exp(-(((half_width - x) / 0.003) ** 2) - (margin / 0.004) ** 2)
        bump = profile[:, None] * (1 - np.sin(phi) ** 6) + corner
        loops.append(np.stack([np.r_[x, x[-2::-1]], np.r_[upper, lower[-2::-1]]], axis=-1))
        bumps.append(np.r_[bump[0], bump[1][-2::-1]])
    flat = np.stack(loops)
    z = front_depth(flat[..., 0], flat[..., 1]) + np.stack(bumps)
    return list(np.concatenate([flat, z[..., None]], axis=-1))


def _spacing(chart: Array) -> Array:
    """Wanted distance between vertices, metres."""
    a, b = chart[:, 0], chart[:, 1]
    x = RADIUS * np.abs(a)
    nose = np.hypot(np.maximum(x - 0.018, 0), np.maximum(np.maximum(b + 0.008, -0.042 - b), 0))
    face = np.hypot(np.maximum(x - 0.050, 0), np.maximum(np.maximum(b - 0.040, -0.128 - b), 0))
    return np.minimum(0.0020 + 0.30 * nose, np.minimum(0.0042 + 0.19 * face, 0.0170))


def _filler(taken: Array) -> Array:
    """Staggered rows of points, coarser away from the face, that keep clear of the loops."""
    chosen = []
    tree = cKDTree(taken * [RADIUS, 1.0])
    for level, step in enumerate((0.0020, 0.0040, 0.0080, 0.0160)):
        rows = np.arange(CAP_START - 20 * 0.0160, TOP - 0.5 * step, step)
        rows = rows[rows > BOTTOM + 0.4 * step]
        for number, b in enumerate(rows):
            shrink = np.cos(max(b - CAP_START, 0) / RADIUS)  # circles of latitude shorten towards the crown
            count = max(round(np.pi * RADIUS * max(shrink, 0.05) / step), 2)
            a = (np.arange(count) + (0.5 if number % 2 else 0.0)) * np.pi / count
            a = np.unique(np.concatenate([a, [0.0, np.pi]])) if not number % 2 else np.concatenate([[0.0], a, [np.pi]])
            chart = np.stack([a, np.full_like(a, b)], axis=-1)
            wanted = _spacing(chart)
            mine = (wanted >= step * 0.999) & (wanted < 2 * step) if level else wanted < 2 * step
            chosen.append(chart[mine])
    points = np.concatenate(chosen)
    seam = np.minimum(points[:, 0], np.pi - points[:, 0]) * RADIUS
    on_seam = seam < 1e-9
    wanted = _spacing(points)
    points = points[on_seam | (seam > 0.55 * np.minimum(wanted, 0.012))]
    # Levels meet: thin points that came too close to a finer one.
    kept = _thin(points)
    distance, _ = tree.query(kept * [RADIUS, 1.0])
    return np.asarray(kept[distance > np.maximum(0.8 * np.minimum(_spacing(kept), 0.005), 0.0027)])


def _thin(points: Array) -> Array:
    scaled = points * [RADIUS, 1.0]
    wanted = _spacing(points)
    alive = np.ones(len(points), dtype=bool)
    pairs = cKDTree(scaled).query_pairs(0.012, output_type="ndarray")
    distance = np.linalg.norm(scaled[pairs[:, 0]] - scaled[pairs[:, 1]], axis=1)
    for i, j in pairs[distance < 0.62 * np.minimum(wanted[pairs[:, 0]], wanted[pairs[:, 1]])]:
        if alive[i] and alive[j]:
            alive[max(i, j)] = False
    return points[alive]


def build_half_skin() -> HalfSkin:
    """Place and join the vertices of the left half."""
    eye, mouth = _eye_loops(), _mouth_loops()
    fixed = np.concatenate([*eye, *mouth])
    fixed_chart = to_chart(fixed)
    n_lip = 2 * LIP_POINTS - 1
    eye_ids = np.arange(len(eye) * EYE_POINTS).reshape(len(eye), EYE_POINTS)
    mouth_ids = eye_ids.size + np.arange(len(mouth) * n_lip).reshape(len(mouth), n_lip)
    fixed_chart[mouth_ids[:, [0, -1]].ravel(), 0] = 0.0
    bottom = np.stack([np.linspace(0, np.pi, 12), np.full(12, BOTTOM)], axis=-1)
    filler = _filler(fixed_chart)
    filler = filler[
        ~_inside(filler, fixed_chart[eye_ids[-1]]) & ~_inside(filler, _both_sides(fixed_chart[mouth_ids[-1]]))
    ]
    pole = np.array([[0.0, TOP], [np.pi, TOP]])
    free = np.concatenate([filler, bottom, pole])
    chart = np.concatenate([fixed_chart, free])
    origin, direction = rays(free)
    placed = cast(origin, direction)
    placed[len(filler) : -2, 1] = BOTTOM
    points = np.concatenate([fixed, placed])
    points[(chart[:, 0] < 1e-9) | (chart[:, 0] > np.pi - 1e-9) | (chart[:, 1] > TOP - 1e-9), 0] = 0.0
    points[-2:] = points[-2:].mean(axis=0)
    holes = (fixed_chart[eye_ids[-1]], _both_sides(fixed_chart[mouth_ids[-1]]))
    outside = np.r_[eye_ids[-1], mouth_ids[-1], len(fixed) + np.arange(len(free))]
    faces = np.concatenate(
        [
            outside[_triangulate(chart[outside], holes)],
            lattice_faces(eye_ids, closed=True, flip=True),
            lattice_faces(mouth_ids),
        ]
    )
    return HalfSkin(points, chart, faces, eye_ids, mouth_ids)


def _triangulate(chart: Array, holes: tuple[Array, ...]) -> np.ndarray:
    scaled = chart * [RADIUS, 1.0]
    faces = Delaunay(scaled).simplices
    corner = scaled[faces]
    edge1, edge2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    area = edge1[:, 0] * edge2[:, 1] - edge1[:, 1] * edge2[:, 0]
    faces = np.where((area > 0)[:, None], faces, faces[:, ::-1])
    centre = chart[faces].mean(axis=1)
    kept = np.abs(area) > 1e-10
    for hole in holes:
        kept &= ~_inside(centre, hole)
    return np.asarray(faces[kept])


def _inside(points: Array, loop: Array) -> np.ndarray:
    """Even-odd test of points against a closed polygon."""
    x, y = points[:, 0, None], points[:, 1, None]
    x0, y0 = loop[:, 0], loop[:, 1]
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    crosses = ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / np.where(y1 == y0, 1.0, y1 - y0) + x0)
    return np.asarray(crosses.sum(axis=1) % 2 == 1)


def _both_sides(half_loop: Array) -> Array:
    return np.concatenate([half_loop, half_loop[::-1] * [-1.0, 1.0]])


def _warp(value: Array, low: float, high: float, centre: float, width: float, share: float) -> Array:
    """Monotone map of [low, high] onto [0, 1] that spreads the neighbourhood of `centre`."""

    def bend(x: Array | float) -> Array:
        return np.asarray(share * np.tanh((x - centre) / width) + (1 - share) * (x - centre) / (high - low) * 2)

    return (bend(value) - bend(low)) / (bend(high) - bend(low))


def to_uv(chart: Array) -> Array:
    """Texture coordinates local to the skin's island, with most texels on the face."""
    u = _warp(chart[:, 0], -np.pi, np.pi, 0.0, 0.90, 0.92)
    return np.stack([u, _warp(chart[:, 1], BOTTOM, TOP, -0.022, 0.090, 0.93)], axis=-1)


def longitude_of(u: Array) -> Array:
    """Chart longitudes of columns `u` of the skin's island."""
    a = np.linspace(-np.pi, np.pi, 2001)
    return np.asarray(np.interp(u, to_uv(np.stack([a, 0 * a], axis=-1))[:, 0], a))
