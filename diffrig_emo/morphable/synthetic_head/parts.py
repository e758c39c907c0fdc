"""What is not skin: eyeballs, inner lids, the mouth's inside, teeth, tongue, ears. Left half only (x >= 0)."""

from __future__ import annotations

import dataclasses

import numpy as np

from diffrig_emo.morphable.synthetic_head import anatomy
from diffrig_emo.morphable.synthetic_head.anatomy import Array, smoothstep
from diffrig_emo.morphable.synthetic_head.lattice import lattice_faces
from diffrig_emo.morphable.synthetic_head.sculpt import cast

EYE_VIEW = np.radians(75)  # angle from the gaze that the eye's texture reaches


@dataclasses.dataclass(frozen=True)
class Patch:
    """A lattice of vertices with texture coordinates local to its island ([0, 1] squared)."""

    points: Array
    """(rows, columns, 3)."""
    uv: Array
    """(rows, columns, 2)."""
    closed: bool = False
    """Whether the last column joins the first."""
    flip: bool = False
    """Whether the winding is reversed."""

    @property
    def faces(self) -> np.ndarray:
        """(F, 3) triangles over the flattened lattice."""
        return lattice_faces(np.arange(self.points[..., 0].size).reshape(self.points.shape[:2]), self.closed, self.flip)


def eye_reach(angle: Array) -> Array:
    """Radius in the eye's texture, [0, 1], of points at an angle from the gaze; the iris gets most texels."""
    return np.asarray(np.minimum(angle / EYE_VIEW, 1.0) ** 0.7)


def eyeball() -> Patch:
    """Front of the left eyeball; columns run round the gaze, rows from the pupil to the back."""
    angle = np.radians([0, 5, 10, 17, 23.6, 30, 40, 54, 72, 100])[:, None]
    turn = 2 * np.pi * np.arange(20)[None] / 20
    direction = np.stack(
        np.broadcast_arrays(np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), np.cos(angle)), -1
    )
    reach = 0.5 * eye_reach(angle)
    uv = np.stack(np.broadcast_arrays(0.5 + reach * np.cos(turn), 0.5 + reach * np.sin(turn)), -1)
    return Patch(anatomy.EYE_CENTRE + anatomy.EYE_RADIUS * direction, uv, closed=True, flip=True)


def inner_lids(rim: Array) -> Patch:
    """The lids' thickness and their side towards the eyeball: two rings behind the rim."""
    offset = rim - anatomy.EYE_CENTRE
    direction = offset / np.linalg.norm(offset, axis=1, keepdims=True)
    rings = [rim]
    for turn, radius in ((-0.02, anatomy.EYE_RADIUS + 0.0010), (0.26, anatomy.EYE_RADIUS + 0.0003)):
        angle = np.arccos(direction[:, 2]) + turn
        around = np.arctan2(direction[:, 1], direction[:, 0])
        ring = np.stack([np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.cos(angle)], -1)
        rings.append(anatomy.EYE_CENTRE + radius * ring)
    uv = np.zeros((3, len(rim), 2)) + 0.5
    return Patch(np.stack(rings), uv, closed=True)


def mouth_sock(seam: Array) -> Patch:
    """The mouth's dark inside, behind the half loop of the lips' seam."""
    upper = np.linspace(1, -1, len(seam))
    # (depth behind the seam, distance from the lip line, widening)
    rings = [seam]
    for depth, height, width in (
        (0.0022, -0.0006, 0.985),
        (0.0050, 0.0085, 1.03),
        (0.012, 0.0140, 1.12),
        (0.032, 0.0150, 1.10),
    ):
        side = np.sign(upper) * np.sqrt(1 - (1 - np.abs(upper)) ** 2)
        ring = seam + np.stack([0 * upper, height * side, 0 * upper - depth], -1)
        ring[:, 0] *= width
        rings.append(ring)
    flat = rings[-1].copy()
    flat[:, 2] = 0.035
    flat[:, 0] *= 0.8
    end = np.broadcast_to([0.0, anatomy.LIP_CENTRE[1], 0.034], seam.shape)
    points = np.stack([*rings, flat, end])
    rows = np.linspace(0.02, 0.98, len(points))[:, None]
    uv = np.stack(np.broadcast_arrays(np.linspace(0.02, 0.98, len(seam))[None], rows), -1)
    return Patch(points, uv, flip=True)


def teeth(upper: bool) -> Patch:
    """Half an arch of teeth: rows from the gum over the edge to the back, columns from the midline."""
    arc = np.linspace(0, 1, 11)[None]
    phi = arc * np.radians(78)
    sign = 1.0 if upper else -1.0
    front, width, depth = (0.0805, 0.0255, 0.034) if upper else (0.0782, 0.0240, 0.032)
    edge = anatomy.LIP_CENTRE[1] - (0.0018 if upper else 0.0012)
    # (height above the edge, distance behind the front)
    profile = np.array(
        [(0.0150, 0.0020), (0.0095, 0.0008), (0.0045, 0.0), (0.0005, 0.0006), (0.0, 0.0016), (0.0060, 0.0050)]
    )
    inset = profile[:, 1:]
    x = (width - inset) * np.sin(phi)
    z = front - inset - depth * (1 - np.cos(phi))
    y = edge + sign * (profile[:, :1] + 0.0010 * (arc > 0.75)) + 0 * phi + sign * 0.0006 * phi
    v = np.array([1.0, 0.62, 0.35, 0.08, 0.03, 0.0])[:, None]
    uv = np.stack(np.broadcast_arrays(arc, v), -1)
    return Patch(np.stack([x, y, z], -1), uv, flip=upper)


def tongue() -> Patch:
    """Half of the tongue's upper side, rows from the tip backwards."""
    along = np.linspace(0, 1, 6)[:, None]
    across = np.linspace(0, 1, 6)[None]
    width = 0.0175 * np.sqrt(1 - (1 - np.minimum(along * 1.6, 1)) ** 2) + 0.0005
    x = width * np.sin(across * np.pi / 2)
    z = 0.0740 - 0.036 * along - 0.004 * across**2
    y = (
        -0.0685
        + 0.0050 * np.sin(np.pi * np.minimum(along + 0.1, 1) * 0.8)
        - 0.0065 * across**2.5
        + 0.001 * (across > 0.2)
    )
    y = y + 0 * along
    uv = np.stack(np.broadcast_arrays(across * 0.9 + 0.05, along), -1)
    return Patch(np.stack(np.broadcast_arrays(x, y, z), -1), uv)


def ear() -> Patch:
    """The left ear: a relief with helix, antihelix, concha, tragus and lobe, and a back that meets the skull."""
    turn = 2 * np.pi * np.arange(20)[None] / 20  # 0 backwards, pi/2 up
    reach = np.array([0.0, 0.22, 0.40, 0.55, 0.68, 0.80, 0.90, 0.97, 1.0, 0.93, 0.60])[:, None]
    back = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0.0018, 0.0050, 0.0170])[:, None]
    across, up = np.cos(turn), np.sin(turn)
    half_width = 0.0152 + 0.0032 * up
    v, u = reach * half_width * across, reach * 0.0285 * up
    rear = smoothstep(-0.55, 0.15, across)
    above = smoothstep(-0.75, -0.35, up)
    rim = np.exp(-(((reach - 0.91) / 0.085) ** 2)) * np.maximum(rear, smoothstep(0.1, 0.6, up)) * above
    ridge = np.exp(-(((reach - 0.58) / 0.11) ** 2)) * smoothstep(-0.2, 0.4, across) * above
    bowl = np.exp(-(((v + 0.0030) / 0.0075) ** 2) - (((u + 0.0030) / 0.0100) ** 2))
    tragus = np.exp(-(((v + 0.0135) / 0.0040) ** 2) - (((u + 0.0035) / 0.0055) ** 2))
    lobe = np.exp(-(((u + 0.0230) / 0.0070) ** 2))
    lift = 0.0048 * rim + 0.0046 * ridge - 0.0064 * bowl + 0.0055 * tragus + 0.0010 * lobe - back
    flare, lean = np.radians(17), np.radians(-12)
    axis_v = np.array([np.sin(flare), 0.0, -np.cos(flare)])
    axis_n = np.array([np.cos(flare), 0.0, np.sin(flare)])
    axis_u = np.array([0.10, 1.0, 0.0])
    v_l, u_l = v * np.cos(lean) - u * np.sin(lean) * -1, u * np.cos(lean) + v * np.sin(lean) * -1
    foot = cast(np.array([[0.0, -0.0040, -0.0060]]), np.array([[1.0, 0.0, 0.0]]), reach=0.11)[0]
    centre = foot + np.array([0.0056, 0.0, -0.0060])
    points = centre + v_l[..., None] * axis_v + u_l[..., None] * axis_u + lift[..., None] * axis_n
    squeeze = np.where(back > 0.002, 1.0, 0.94 * reach)
    uv = np.stack(np.broadcast_arrays(0.5 + 0.5 * squeeze * across, 0.5 + 0.5 * squeeze * up), -1)
    return Patch(points, uv, closed=True, flip=True)
