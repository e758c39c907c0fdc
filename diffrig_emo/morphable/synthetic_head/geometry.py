"""The mean head assembled: skin and parts, mirrored into one mesh with an atlas of texture islands."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from diffrig_emo.morphable.synthetic_head import chart, parts
from diffrig_emo.morphable.synthetic_head.anatomy import Array

# Texture islands: u0, v0, u1, v1 (v up). The skin takes everything above the strip.
STRIP = 0.17
ISLANDS = {
    "skin": (0.0, STRIP + 0.01, 1.0, 1.0),
    "eye": (0.005, 0.005, 0.165, 0.165),
    "ear": (0.175, 0.005, 0.335, 0.165),
    "teeth_upper": (0.345, 0.090, 0.560, 0.165),
    "teeth_lower": (0.345, 0.005, 0.560, 0.080),
    "mouth": (0.570, 0.005, 0.730, 0.165),
    "tongue": (0.740, 0.005, 0.860, 0.165),
    "inner_lids": (0.870, 0.005, 0.990, 0.165),
}


@dataclasses.dataclass(frozen=True)
class HeadGeometry:
    """Mesh of the mean head."""

    vertices: Array
    """(V, 3) metres: the left half, then the mirrored vertices."""
    faces: np.ndarray
    """(F, 3)."""
    uvs: Array
    """(T, 2)."""
    uv_faces: np.ndarray
    """(F, 3)."""
    part: np.ndarray
    """(V,) name of each vertex's part, a key of `ISLANDS`."""
    chart: Array
    """(V, 2) chart coordinates of the skin, NaN elsewhere."""
    mirror: np.ndarray
    """(V,) id of the vertex on the other side."""
    upper_lip: Array
    """(V,) 1 on the upper lip and behind it, 0 on the lower, 0.5 at the corners; NaN elsewhere."""
    eye_rings: np.ndarray
    """(rings, points) ids of the left lids' loops, as `chart.HalfSkin.eye_rings`."""
    inner_lid_rings: np.ndarray
    """(2, points) ids of the loops behind the left lids' rim."""
    lip_rings: np.ndarray
    """(rings, points) ids of the lips' left half loops, as `chart.HalfSkin.lip_rings`."""


def island(name: str, uv: Array) -> Array:
    """Carry local texture coordinates into the atlas."""
    u0, v0, u1, v1 = ISLANDS[name]
    return np.asarray(np.array([u0, v0]) + uv * np.array([u1 - u0, v1 - v0]))


@functools.cache
def build_geometry() -> HeadGeometry:
    """Build the mean head (cached; treat the arrays as read-only)."""
    skin = chart.build_half_skin()
    seam, rim = skin.lip_rings[0], skin.eye_rings[0]
    patches = {
        "eye": parts.eyeball(),
        "inner_lids": parts.inner_lids(skin.points[rim]),
        "mouth": parts.mouth_sock(skin.points[seam]),
        "teeth_upper": parts.teeth(upper=True),
        "teeth_lower": parts.teeth(upper=False),
        "tongue": parts.tongue(),
        "ear": parts.ear(),
    }
    points, faces, uvs, names = (
        [skin.points],
        [skin.faces],
        [island("skin", chart.to_uv(skin.chart))],
        ["skin"] * len(skin.points),
    )
    start = {}
    for name, patch in patches.items():
        start[name] = sum(map(len, points))
        points.append(patch.points.reshape(-1, 3))
        uvs.append(island(name, patch.uv.reshape(-1, 2)))
        faces.append(patch.faces + start[name])
        names += [name] * len(points[-1])
    # The first row of these two coincides with the skin's own loop and is welded to it below.
    lids = start["inner_lids"] + np.arange(3 * len(rim)).reshape(3, -1)[1:]
    sock = start["mouth"] + np.arange(patches["mouth"].points[..., 0].size).reshape(-1, len(seam))
    upper = np.full(sum(map(len, points)), np.nan)
    # Towards the corners the lips part less and less, so that the open mouth is a lens.
    turn = np.linspace(0, np.pi, len(seam))
    side = 0.5 + 0.5 * np.sign(np.cos(turn).round(9)) * np.abs(np.cos(turn)) ** 1.5
    for ring in (*skin.lip_rings[: len(chart.LIP_RINGS)], *sock[1:]):
        upper[ring] = side
    charts = np.full((len(upper), 2), np.nan)
    charts[: len(skin.chart)] = skin.chart
    return _mirrored(
        np.concatenate(points), np.concatenate(faces), np.concatenate(uvs), np.array(names), charts, upper, skin, lids
    )


def _mirrored(
    points: Array,
    faces: np.ndarray,
    uvs: Array,
    names: np.ndarray,
    charts: Array,
    upper: Array,
    skin: chart.HalfSkin,
    lids: np.ndarray,
) -> HeadGeometry:
    # Poles, where a whole row of a lattice meets, become one vertex each; texture coordinates stay apart.
    _, first, weld = np.unique(points.round(9), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # keep the order of first appearance
    first, weld = first[order], np.argsort(order)[weld.reshape(-1)]
    uv_faces, faces = faces, weld[faces]
    sound = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    uv_faces, faces = uv_faces[sound], faces[sound]
    names_uv = names
    points, names, charts, upper = points[first].copy(), names[first], charts[first], upper[first]
    on_midline = np.abs(points[:, 0]) < 1e-7
    points[on_midline, 0] = 0.0
    n, others = len(points), np.flatnonzero(~on_midline)
    twin = np.arange(n)
    twin[others] = n + np.arange(len(others))
    mirrored_uvs = uvs.copy()
    is_skin = names_uv == "skin"
    mirrored_uvs[is_skin, 0] = 1 - mirrored_uvs[is_skin, 0]
    return HeadGeometry(
        vertices=np.concatenate([points, points[others] * [-1, 1, 1]]),
        faces=np.concatenate([faces, twin[faces[:, ::-1]]]),
        uvs=np.concatenate([uvs, mirrored_uvs]),
        uv_faces=np.concatenate([uv_faces, uv_faces[:, ::-1] + len(uvs)]),
        part=np.concatenate([names, names[others]]),
        chart=np.concatenate([charts, charts[others] * [-1, 1]]),
        mirror=np.concatenate([twin, others]),
        upper_lip=np.concatenate([upper, upper[others]]),
        eye_rings=weld[skin.eye_rings],
        inner_lid_rings=weld[lids],
        lip_rings=weld[skin.lip_rings],
    )
