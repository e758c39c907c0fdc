"""Smooth displacement fields: what identity and expression directions are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from diffrig_emo.morphable.synthetic_head import anatomy
from diffrig_emo.morphable.synthetic_head.anatomy import Array, smoothstep
from diffrig_emo.morphable.synthetic_head.geometry import HeadGeometry

MM = 1e-3
LID_WEIGHTS = (1.0, 0.84, 0.58, 0.28, 0.06)
"""How much the loops around the eye follow the lid's rim, from the rim outwards."""


@dataclasses.dataclass(frozen=True)
class Warp:
    """A Gaussian bump that shifts and stretches space: `w(p) (shift + stretch * (p - centre))`.

    It is written for the left half and mirrored, unless `side` says otherwise.
    """

    centre: Sequence[float]
    """Middle of the bump, mm."""
    radii: Sequence[float]
    """Where the weight has fallen to 1/e along each axis, mm."""
    shift: Sequence[float] = (0.0, 0.0, 0.0)
    """Displacement of the middle, mm."""
    stretch: Sequence[float] = (0.0, 0.0, 0.0)
    """Relative growth along each axis about the centre."""
    lip: Literal["both", "upper", "lower"] = "both"
    """Which side of the mouth's slit it moves."""
    side: Literal["both", "left", "right", "skew"] = "both"
    """`skew` moves both halves the same way."""

    def __call__(self, points: Array, lower: Array) -> Array:
        """Displacements of points (N, 3), metres; `lower` (N,) is 1 below the mouth's slit, 0 above."""
        centre, radii = np.array(self.centre) * MM, np.array(self.radii) * MM
        sign = np.sign(points[:, 0])
        q = points.copy()
        if self.side != "skew":
            q[:, 0] = np.abs(q[:, 0])
        weight = np.exp(-(((q - centre) / radii) ** 2).sum(axis=1))
        weight = weight * {"both": 1.0, "upper": 1 - lower, "lower": lower}[self.lip]
        if self.side in ("left", "right"):
            toward = points[:, 0] if self.side == "left" else -points[:, 0]
            weight = weight * smoothstep(-0.006, 0.006, toward)
        move = weight[:, None] * (np.array(self.shift) * MM + np.array(self.stretch) * (q - centre))
        if self.side != "skew":
            # Halves that move apart do so gradually, not at the midline.
            move[:, 0] *= sign * np.where(centre[0] > 0, np.tanh(q[:, 0] / 0.005), 1.0)
        return np.asarray(move)


def apply_warps(head: HeadGeometry, warps: Sequence[Warp], lower: Array) -> Array:
    """(V, 3) displacement of the head; eyes, lids and teeth move without being bent.

    Args:
        head: the mean head.
        warps: bumps to add up.
        lower: (V,) 1 below the mouth's slit, 0 above (the jaw's weights).
    """

    def field(points: Array, below: Array) -> Array:
        total = np.zeros_like(points)
        for warp in warps:
            total += warp(points, below)
        return total

    p = head.vertices
    move = field(p, lower)
    for sign in (1.0, -1.0):
        centre = anatomy.EYE_CENTRE * [sign, 1, 1]
        distance = np.linalg.norm(p - centre, axis=1)
        grip = 1 - smoothstep(anatomy.LID_RADIUS + 0.0016, anatomy.LID_RADIUS + 0.0100, distance)
        grip = np.where(np.isin(head.part, ("eye", "inner_lids")) & (sign * p[:, 0] > 0), 1.0, grip)[:, None]
        move = (1 - grip) * move + grip * field(centre[None], np.zeros(1))
    for name, below in (("teeth_upper", 0.0), ("teeth_lower", 1.0), ("tongue", 1.0)):
        anchor = np.array([[0.0, anatomy.LIP_CENTRE[1] + (0.012 if below == 0 else -0.016), 0.078]])
        move[head.part == name] = field(anchor, np.array([below])) * [0.0, 1.0, 1.0]
    return np.asarray(move)


def eye_block(head: HeadGeometry) -> tuple[Array, Array]:
    """How firmly each vertex belongs to an eye (V,), and the offset from that eye's centre (V, 3)."""
    p = head.vertices
    centre = anatomy.EYE_CENTRE * np.stack([np.where(p[:, 0] >= 0, 1, -1), np.ones(len(p)), np.ones(len(p))], -1)
    offset = p - centre
    weight = 1 - smoothstep(anatomy.LID_RADIUS + 0.0020, anatomy.LID_RADIUS + 0.0110, np.linalg.norm(offset, axis=1))
    return np.where(np.isin(head.part, ("eye", "inner_lids")), 1.0, weight), offset


def turn_lids(head: HeadGeometry, upper: Array | float, lower: Array | float) -> Array:
    """(V, 3) displacement of the left lids, which slide over the eyeball about its left-right axis.

    Args:
        head: the mean head.
        upper: angle of the upper rim, radians, positive down; a number or one per ring point.
        lower: the same of the lower rim, positive up.
    """
    n = head.eye_rings.shape[1]
    sine = np.sin(2 * np.pi * np.arange(n) / n)
    angle = np.where(sine > 0, np.broadcast_to(upper, n), -np.broadcast_to(lower, n))
    move = np.zeros_like(head.vertices)
    edge, tuck = head.inner_lid_rings
    # The last ring nearly touches the eyeball; it rises as it turns, since a straight path cuts below the arc.
    rings = [
        *((ring, w, 0.0) for ring, w in zip(head.eye_rings, LID_WEIGHTS, strict=True)),
        (edge, 1.0, 0.0),
        (tuck, 1.0, 0.13),
    ]
    for ring, weight, rise in rings:
        offset = head.vertices[ring] - anatomy.EYE_CENTRE
        turn = weight * angle
        growth = 1 + rise * np.abs(turn)
        y = growth * (offset[:, 1] * np.cos(turn) - offset[:, 2] * np.sin(turn))
        z = growth * (offset[:, 1] * np.sin(turn) + offset[:, 2] * np.cos(turn))
        move[ring] = np.stack([growth * offset[:, 0], y, z], axis=-1) - offset
    return move


def closing_angles(head: HeadGeometry) -> tuple[Array, Array]:
    """Angles by which the upper and lower rims of the left lids turn to meet, radians."""
    rim = head.vertices[head.eye_rings[0]] - anatomy.EYE_CENTRE
    elevation = np.arctan2(rim[:, 1], rim[:, 2])
    n = len(rim)
    facing = elevation[(n - np.arange(n)) % n]  # of the point across the opening
    is_upper = np.sin(2 * np.pi * np.arange(n) / n) > 0
    high, low = np.where(is_upper, elevation, facing), np.where(is_upper, facing, elevation)
    meet = 0.26 * high + 0.74 * low
    return elevation - meet + 0.015 * is_upper, meet - elevation


def mirrored(head: HeadGeometry, move: Array) -> Array:
    """The same displacement on the other side of the head."""
    return np.asarray(move[head.mirror] * [-1.0, 1.0, 1.0])
