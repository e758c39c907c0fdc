"""Identity: named directions in which heads differ, one standard deviation each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffrig_emo.morphable.synthetic_head.anatomy import Array, smoothstep
from diffrig_emo.morphable.synthetic_head.fields import Warp, apply_warps, eye_block, mirrored, turn_lids
from diffrig_emo.morphable.synthetic_head.geometry import HeadGeometry

ALL = 1e6  # a radius that covers the head, mm

WARPS: dict[str, tuple[Warp, ...]] = {
    "head_width": (Warp((0, 0, 0), (ALL, ALL, ALL), stretch=(0.032, 0, 0)),),
    "head_height": (Warp((0, 10, 0), (ALL, ALL, ALL), stretch=(0, 0.030, 0)),),
    "head_depth": (Warp((0, 40, -70), (ALL, 75, 75), stretch=(0, 0, 0.06), shift=(0, 0, -2)),),
    "crown_height": (Warp((0, 110, -15), (90, 55, 90), shift=(0, 5.0, 0)),),
    "temple_width": (Warp((64, 40, 25), (40, 34, 45), shift=(3.0, 0, 0)),),
    "forehead_slope": (Warp((0, 80, 70), (70, 34, 45), shift=(0, -0.5, -4.0)),),
    "face_length": (Warp((0, -115, 50), (90, 52, 90), shift=(0, -4.5, 0)),),
    "cheekbone_width": (Warp((56, -8, 42), (24, 20, 30), shift=(2.8, 0, 1.0)),),
    "cheek_fullness": (Warp((44, -42, 48), (24, 22, 28), shift=(4.2, 0, 2.2)),),
    "jaw_width": (Warp((50, -66, 14), (28, 28, 38), shift=(4.2, 0, 0)),),
    "jaw_angle": (Warp((46, -62, 8), (22, 24, 30), shift=(0.5, -4.5, 0)),),
    "chin_length": (Warp((0, -106, 66), (26, 18, 30), shift=(0, -4.0, 0.8)),),
    "chin_forward": (Warp((0, -94, 78), (24, 18, 26), shift=(0, 0, 3.6)),),
    "chin_width": (Warp((0, -96, 70), (34, 20, 28), stretch=(0.20, 0, 0)),),
    "brow_height": (Warp((27, 33, 74), (26, 11, 26), shift=(0, 2.2, 0)),),
    "brow_ridge": (
        Warp((24, 31, 76), (24, 9, 20), shift=(0, -0.4, 2.0)),
        Warp((0, 24, 80), (12, 10, 20), shift=(0, 0, 1.4)),
    ),
    "nose_length": (Warp((0, -28, 96), (17, 13, 24), shift=(0, -3.0, 0)),),
    "nose_width": (Warp((0, -28, 88), (22, 13, 20), stretch=(0.17, 0, 0)),),
    "nose_projection": (Warp((0, -22, 104), (14, 16, 18), shift=(0, 0, 3.4)),),
    "nose_bridge": (Warp((0, 2, 88), (8, 13, 18), shift=(0, 0, 2.4)),),
    "nose_bridge_width": (Warp((0, 2, 84), (13, 20, 18), stretch=(0.16, 0, 0)),),
    "nose_tip_lift": (Warp((0, -27, 104), (12, 9, 12), shift=(0, 2.6, -0.5)),),
    "nose_tip_size": (Warp((0, -23, 100), (11, 10, 14), stretch=(0.16, 0.14, 0.05)),),
    "mouth_width": (Warp((0, -56, 85), (42, 17, 30), stretch=(0.085, 0, 0)),),
    "mouth_height": (Warp((0, -56, 86), (34, 18, 30), shift=(0, -2.4, 0)),),
    "upper_lip_fullness": (Warp((0, -56, 92), (26, 9.5, 16), stretch=(0, 0.20, 0), shift=(0, 0, 0.7), lip="upper"),),
    "lower_lip_fullness": (Warp((0, -56, 92), (26, 11, 16), stretch=(0, 0.20, 0), shift=(0, 0, 0.9), lip="lower"),),
    "mouth_forward": (Warp((0, -55, 88), (34, 24, 26), shift=(0, 0, 2.4)),),
    "neck_width": (Warp((0, -170, -25), (200, 52, 120), stretch=(0.06, 0, 0.05)),),
    "nose_lean": (Warp((0, -24, 100), (14, 18, 22), shift=(0.9, 0, 0), side="skew"),),
    "chin_lean": (Warp((0, -98, 70), (40, 34, 36), shift=(1.3, 0, 0), side="skew"),),
}  # fmt: skip


def _eye_distance(head: HeadGeometry) -> Array:
    weight, _ = eye_block(head)
    p = head.vertices
    wide = np.maximum(
        weight,
        np.exp(-(((np.abs(p[:, 0]) - 0.033) / 0.020) ** 2 + ((p[:, 1] - 0.018) / 0.020) ** 2)) * (p[:, 2] > 0.02),
    )
    return np.stack([np.sign(p[:, 0]) * wide * 0.0013, 0 * wide, 0 * wide], -1)


def _eye_size(head: HeadGeometry) -> Array:
    weight, offset = eye_block(head)
    return np.asarray(0.055 * weight[:, None] * offset)


def _eye_tilt(head: HeadGeometry) -> Array:
    weight, offset = eye_block(head)
    turn = 0.065 * weight * np.sign(head.vertices[:, 0]) * ~(head.part == "eye")
    return np.stack([-turn * offset[:, 1], turn * offset[:, 0], 0 * turn], -1)


def _eye_opening(head: HeadGeometry) -> Array:
    n = head.eye_rings.shape[1]
    sine = np.abs(np.sin(2 * np.pi * np.arange(n) / n)) ** 0.7
    move = turn_lids(head, -0.055 * sine, -0.028 * sine)
    return move + mirrored(head, move)


def _eye_depth(head: HeadGeometry) -> Array:
    weight, _ = eye_block(head)
    return np.stack([0 * weight, 0 * weight, -0.0017 * weight], -1)


def _ear_offset(head: HeadGeometry) -> tuple[Array, Array]:
    is_ear = (head.part == "ear").astype(np.float64)
    return is_ear, head.vertices - np.array([0.066, -0.006, 0.006]) * np.where(
        head.vertices[:, :1] >= 0, [1, 1, 1], [-1, 1, 1]
    )


def _ear_size(head: HeadGeometry) -> Array:
    is_ear, offset = _ear_offset(head)
    return np.asarray(0.06 * is_ear[:, None] * offset)


def _ear_flare(head: HeadGeometry) -> Array:
    is_ear, offset = _ear_offset(head)
    out = is_ear * 0.11 * smoothstep(0.0, 0.020, -offset[:, 2]) * -offset[:, 2]
    return np.stack([np.sign(head.vertices[:, 0]) * out, 0 * out, 0 * out], -1)


BUILDERS: dict[str, Callable[[HeadGeometry], Array]] = {
    "eye_distance": _eye_distance,
    "eye_size": _eye_size,
    "eye_tilt": _eye_tilt,
    "eye_opening": _eye_opening,
    "eye_depth": _eye_depth,
    "ear_size": _ear_size,
    "ear_flare": _ear_flare,
}
SHAPE_NAMES: tuple[str, ...] = (*WARPS, *BUILDERS)


def shape_directions(head: HeadGeometry, lower: Array) -> Array:
    """(V, 3, n_shape) displacements in metres per standard deviation, in the order of `SHAPE_NAMES`."""
    moves = [apply_warps(head, warps, lower) for warps in WARPS.values()]
    return np.stack([*moves, *(build(head) for build in BUILDERS.values())], axis=-1)
