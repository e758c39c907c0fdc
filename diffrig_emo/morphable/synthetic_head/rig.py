"""Skinning weights, joints and landmarks of the synthetic head."""

from __future__ import annotations

import numpy as np

from diffrig_emo.morphable.landmarks import MAX_YAW
from diffrig_emo.morphable.synthetic_head import anatomy
from diffrig_emo.morphable.synthetic_head.anatomy import Array, smoothstep
from diffrig_emo.morphable.synthetic_head.chart import EYE_POINTS, LIP_POINTS, LIP_RINGS
from diffrig_emo.morphable.synthetic_head.geometry import HeadGeometry

PARENTS = (-1, 0, 1, 1, 1)
"""Root, neck, jaw, left eye, right eye."""


def joint_positions() -> Array:
    """(5, 3) joints of the mean head."""
    left_eye = anatomy.EYE_CENTRE
    return np.stack([anatomy.ROOT_JOINT, anatomy.NECK_JOINT, anatomy.JAW_JOINT, left_eye, left_eye * [-1, 1, 1]])


def jaw_weights(head: HeadGeometry) -> Array:
    """(V,) share of the jaw: 1 on chin and lower lip, 0 above the mouth, sharp across the lips only."""
    p = head.vertices
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    corner_y, corner_z = float(anatomy.lip_line(np.array(anatomy.LIP_HALF_WIDTH))), 0.081
    joint = anatomy.JAW_JOINT
    ahead = np.clip((z - joint[2]) / (corner_z - joint[2]), -0.3, 1.0)
    line = np.where(x < anatomy.LIP_HALF_WIDTH, anatomy.lip_line(x), joint[1] + ahead * (corner_y - joint[1]))
    line = np.where(z > corner_z - 0.004, anatomy.lip_line(np.minimum(x, anatomy.LIP_HALF_WIDTH)), line)
    away = np.hypot(np.maximum(x - anatomy.LIP_HALF_WIDTH + 0.002, 0), np.maximum(corner_z - z - 0.004, 0) * 0.5)
    width = 0.0022 + 0.55 * np.minimum(away, 0.040)
    weight = smoothstep(-1.0, 1.0, (line - y) / width)
    throat = smoothstep(-0.135, -0.098, y + 0.45 * (z - 0.055))
    weight = weight * throat * smoothstep(-0.026, 0.024, z)
    # Between the lips' red and the face the two rules melt.
    n_red = len(LIP_RINGS)
    lip = 1 - head.upper_lip[head.lip_rings[0]]
    for ring, share in zip(head.lip_rings[n_red:], (0.25, 0.55, 0.85), strict=True):
        weight[ring] = (1 - share) * lip + share * weight[ring]
        weight[head.mirror[ring]] = weight[ring]
    weight = np.where(np.isfinite(head.upper_lip), 1 - head.upper_lip, weight)
    for name, value in (
        ("eye", 0),
        ("inner_lids", 0),
        ("ear", 0),
        ("teeth_upper", 0),
        ("teeth_lower", 1),
        ("tongue", 1),
    ):
        weight = np.where(head.part == name, value, weight)
    return np.asarray(weight)


def skinning_weights(head: HeadGeometry) -> Array:
    """(V, 5) linear-blend weights, rows sum to 1."""
    p, weights = head.vertices, np.zeros((len(head.vertices), 5))
    weights[:, 2] = jaw_weights(head)
    weights[:, 3] = (head.part == "eye") & (p[:, 0] > 0)
    weights[:, 4] = (head.part == "eye") & (p[:, 0] < 0)
    rest = 1 - weights[:, 2:].sum(axis=1)
    torso = rest * (1 - smoothstep(-0.190, -0.120, p[:, 1] + 0.3 * p[:, 2]))
    weights[:, 0], weights[:, 1] = torso, rest - torso
    return weights


def _nearest(head: HeadGeometry, targets: Array, candidates: np.ndarray) -> np.ndarray:
    distance = np.linalg.norm(head.vertices[candidates][None] - targets[:, None], axis=-1)
    return np.asarray(candidates[distance.argmin(axis=1)])


def _front_targets(head: HeadGeometry, xy: list[tuple[float, float]], candidates: np.ndarray) -> np.ndarray:
    distance = np.linalg.norm(head.vertices[candidates][None, :, :2] - np.array(xy)[:, None], axis=-1)
    return np.asarray(candidates[distance.argmin(axis=1)])


# Left half of the jawline from below the ear to the chin: (x, y), metres, at the silhouette.
_JAWLINE = (
    (0.0715, 0.004),
    (0.0700, -0.016),
    (0.0660, -0.036),
    (0.0600, -0.056),
    (0.0510, -0.074),
    (0.0400, -0.088),
    (0.0280, -0.098),
    (0.0145, -0.1035),
)


def fixed_landmarks(head: HeadGeometry) -> np.ndarray:
    """(68,) vertex ids in the iBUG order: contour, brows, nose, eyes, mouth, from image left to image right."""
    p = head.vertices
    skin = head.part == "skin"
    left = np.flatnonzero(skin & (p[:, 0] > 1e-6) & (p[:, 2] > 0.03))
    middle = np.flatnonzero(skin & (p[:, 0] == 0) & (p[:, 2] > 0.03))
    side = np.flatnonzero(skin & (p[:, 0] > 1e-6) & (p[:, 2] > 0.0))
    jaw = _jaw_side(head, side)
    chin = middle[np.linalg.norm(p[middle] - [0.0, -0.1045, 0.0680], axis=1).argmin()]
    brow = _front_targets(
        head, [(0.0125, 0.0300), (0.0210, 0.0345), (0.0300, 0.0360), (0.0390, 0.0340), (0.0470, 0.0275)], left
    )
    bridge = _front_targets(head, [(0.0, 0.0120), (0.0, 0.0010), (0.0, -0.0105), (0.0, -0.0225)], middle)
    base = np.r_[
        _front_targets(head, [(0.0135, -0.0325), (0.0068, -0.0355)], left),
        _front_targets(head, [(0.0, -0.0370)], middle),
    ]
    quarter = EYE_POINTS // 4
    eye = head.eye_rings[0][
        [
            2 * quarter,
            quarter + quarter // 3 + 1,
            quarter - quarter // 3 - 1,
            0,
            -quarter + quarter // 3 + 1,
            -quarter - quarter // 3 - 1,
        ]
    ]
    border, seam = head.lip_rings[len(LIP_RINGS) - 1], head.lip_rings[0]
    last = LIP_POINTS - 1
    outer = border[[0, 3, 6, last, 2 * last - 6, 2 * last - 3, 2 * last]]
    inner = seam[[0, 4, last, 2 * last - 4, 2 * last]]
    m = head.mirror
    return np.concatenate(
        [
            m[jaw], [chin], jaw[::-1],
            m[brow[::-1]], brow,
            bridge, m[base[:2]], base[2:], base[1::-1],
            m[eye[[3, 2, 1, 0, 5, 4]]], eye,
            m[outer[3:0:-1]], outer[:4], outer[4:], m[outer[5:3:-1]],
            m[inner[2:0:-1]], inner[:3], inner[3:], m[inner[3:4]],
        ]
    ).astype(np.int64)  # fmt: skip


def _jaw_side(head: HeadGeometry, side: np.ndarray) -> np.ndarray:
    p = head.vertices[side]
    ids = []
    for x, y in _JAWLINE:
        # The outermost vertex of the height, on the face rather than behind the ear.
        score = np.hypot(p[:, 0] - x, 1.5 * (p[:, 1] - y)) + 0.25 * np.maximum(0.010 - p[:, 2], 0)
        ids.append(side[score.argmin()])
    return np.array(ids)


def contour_table(head: HeadGeometry, fixed: np.ndarray) -> np.ndarray:
    """(2 MAX_YAW + 1, 17) contour vertex ids, one row per degree of yaw, ordered as `contour_rows` numbers them.

    The side that turns away slides onto the silhouette of the cheek; the near side keeps the jawline.
    """
    p = head.vertices
    skin = np.flatnonzero((head.part == "skin") & (p[:, 2] > 0.0) & (p[:, 1] > -0.108))
    table = np.empty((2 * MAX_YAW + 1, 17), dtype=np.int64)
    degrees = np.r_[0 : MAX_YAW + 1, -1 : -MAX_YAW - 1 : -1]
    for row, yaw in enumerate(np.radians(degrees)):
        across = np.cos(yaw) * p[:, 0] + np.sin(yaw) * p[:, 2]
        for i, start in enumerate(fixed[:17]):
            sign = 1.0 if yaw > 0 else -1.0
            slides = sign * p[start, 0] > 1e-6
            level = np.abs(p[skin, 1] - p[start, 1])
            score = sign * across[skin] - 3.0 * level
            inside = (sign * p[skin, 0] >= 0) & (sign * p[skin, 0] <= sign * p[start, 0] + 1e-6) & (level < 0.008)
            table[row, i] = skin[np.where(inside, score, -np.inf).argmax()] if slides and inside.any() else start
    return table
