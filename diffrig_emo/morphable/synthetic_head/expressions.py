"""Expressions: named directions, 1 is a full and clearly visible movement."""

from __future__ import annotations

import numpy as np

from diffrig_emo.morphable.synthetic_head import anatomy
from diffrig_emo.morphable.synthetic_head.anatomy import Array
from diffrig_emo.morphable.synthetic_head.fields import Warp, apply_warps, closing_angles, mirrored, turn_lids
from diffrig_emo.morphable.synthetic_head.geometry import HeadGeometry

_CORNER, _CORNER_R = (26, -56.5, 80), (14, 12, 20)
_CHEEK, _CHEEK_R = (40, -22, 60), (19, 15, 22)

WARPS: dict[str, tuple[Warp, ...]] = {
    "smile": (
        Warp(_CORNER, _CORNER_R, shift=(6.5, 7.5, -6.0)),
        Warp(_CHEEK, _CHEEK_R, shift=(1.0, 3.5, 3.2)),
        Warp((28, -42, 80), (5, 9, 14), shift=(0.5, 1.0, -1.8)),
        Warp((0, -51, 92), (17, 7, 16), shift=(0, 0.6, -2.0), lip="upper"),
        Warp((0, -62, 92), (17, 9, 16), shift=(0, 0.8, -2.0), lip="lower"),
    ),
    "frown": (
        Warp(_CORNER, (13, 13, 20), shift=(0.5, -6.5, -0.5)),
        Warp((0, -62, 92), (15, 9, 18), shift=(0, 1.8, 1.2), lip="lower"),
        Warp((0, -52, 92), (15, 8, 18), shift=(0, 1.0, 0.5), lip="upper"),
        Warp((0, -86, 82), (18, 10, 18), shift=(0, 2.0, 1.4)),
    ),
    "brow_raise": (
        Warp((28, 35, 72), (30, 13, 34), shift=(0, 8.0, 0)),
        Warp((8, 38, 82), (16, 16, 30), shift=(0, 4.0, 0)),
    ),
    "brow_inner_raise": (
        Warp((11, 33, 80), (11, 11, 20), shift=(0.5, 7.5, 0.5)),
        Warp((36, 32, 68), (14, 8, 20), shift=(0, -2.5, 0)),
    ),
    "brow_furrow": (
        Warp((14, 30, 79), (14, 10, 20), shift=(-4.5, -5.0, 1.5)),
        Warp((30, 33, 74), (14, 9, 20), shift=(-2.0, -3.0, 0.5)),
        Warp((0, 24, 82), (7, 9, 16), shift=(0, -1.0, 1.6)),
    ),
    "pucker": (
        Warp((0, -56, 88), (34, 17, 30), stretch=(-0.42, 0.22, 0)),
        Warp((0, -56, 92), (20, 15, 30), shift=(0, 0, 7.0)),
    ),
    "press": (
        Warp((0, -56.2, 92), (30, 9, 18), stretch=(0.04, -0.50, 0), shift=(0, 0, -2.4)),
        Warp((0, -74, 86), (20, 8, 16), shift=(0, 1.0, 1.2)),
    ),
    "stretch": (
        Warp(_CORNER, (15, 13, 22), shift=(7.0, -2.5, -6.0)),
        Warp((0, -66, 90), (18, 9, 18), shift=(0, -1.4, -1.0), lip="lower"),
    ),
    "nose_wrinkle": (
        Warp((13, -26, 88), (9, 11, 16), shift=(0.6, 4.0, 0.6)),
        Warp((7, 8, 82), (8, 12, 14), shift=(0, 2.5, 1.2)),
        Warp((14, -44, 90), (15, 9, 18), shift=(0, 2.2, 0.8), lip="upper"),
        Warp((12, 29, 80), (14, 9, 20), shift=(-1.5, -2.8, 0.8)),
    ),
    "cheek_raise": (Warp((38, -14, 64), (20, 13, 22), shift=(0.5, 6.0, 3.6)),),
    "upper_lip_raise": (
        Warp((8, -50, 92), (19, 9.5, 18), shift=(0, 6.0, 1.0), lip="upper"),
        Warp((20, -34, 82), (12, 12, 16), shift=(0, 2.2, 1.2)),
    ),
    "lower_lip_depress": (Warp((7, -63, 91), (18, 10, 18), shift=(0, -5.5, 0.6), lip="lower"),),
    "lip_corner_depress": (Warp((29, -61, 77), (12, 14, 18), shift=(2.5, -5.0, -2.0)),),
    "dimple": (Warp((27, -56, 79), (9, 9, 16), shift=(5.0, 1.5, -8.0)),),
    "smirk_left": (
        Warp(_CORNER, (11, 11, 18), shift=(5.0, 6.5, -7.5), side="left"),
        Warp((32, -42, 74), (7, 10, 14), shift=(1.0, 2.0, 1.8), side="left"),
    ),
    "smirk_right": (
        Warp(_CORNER, (11, 11, 18), shift=(5.0, 6.5, -7.5), side="right"),
        Warp((32, -42, 74), (7, 10, 14), shift=(1.0, 2.0, 1.8), side="right"),
    ),
    "cheek_puff": (Warp((40, -48, 60), (20, 19, 28), shift=(7.0, 0, 4.0)),),
    "chin_raise": (
        Warp((0, -84, 82), (19, 13, 20), shift=(0, 6.0, 2.4)),
        Warp((0, -62, 92), (20, 8, 18), shift=(0, 3.4, 3.4), lip="lower"),
        Warp((0, -52, 92), (20, 7, 18), shift=(0, 3.0, 1.8), lip="upper"),
    ),
}  # fmt: skip
LID_NAMES = ("jaw_open", "lids_close_left", "lids_close_right", "lids_widen", "lids_tighten")
EXPRESSION_NAMES: tuple[str, ...] = (*WARPS, *LID_NAMES)


def _jaw_open(head: HeadGeometry, lower: Array) -> Array:
    offset = head.vertices - anatomy.JAW_JOINT
    cosine, sine = np.cos(0.28), np.sin(0.28)
    y, z = cosine * offset[:, 1] - sine * offset[:, 2], sine * offset[:, 1] + cosine * offset[:, 2]
    return np.asarray(lower[:, None] * np.stack([0 * y, y - offset[:, 1], z - offset[:, 2]], -1))


def expression_directions(head: HeadGeometry, lower: Array) -> Array:
    """(V, 3, n_exp) displacements in metres at value 1, in the order of `EXPRESSION_NAMES`."""
    moves = [apply_warps(head, warps, lower) for warps in WARPS.values()]
    close = turn_lids(head, *closing_angles(head))
    n = head.eye_rings.shape[1]
    sine = np.abs(np.sin(2 * np.pi * np.arange(n) / n)) ** 0.7
    widen, tighten = turn_lids(head, -0.125 * sine, -0.035 * sine), turn_lids(head, 0.030 * sine, 0.105 * sine)
    moves += [_jaw_open(head, lower), close, mirrored(head, close)]
    moves += [widen + mirrored(head, widen), tighten + mirrored(head, tighten)]
    return np.stack(moves, axis=-1)
