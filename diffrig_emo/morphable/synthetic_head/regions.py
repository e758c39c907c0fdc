"""Named sets of vertices."""

from __future__ import annotations

import numpy as np

from diffrig_emo.morphable.synthetic_head import anatomy
from diffrig_emo.morphable.synthetic_head.chart import LIP_RINGS
from diffrig_emo.morphable.synthetic_head.geometry import HeadGeometry


def vertex_regions(head: HeadGeometry) -> dict[str, np.ndarray]:
    """Vertex ids by name.

    `skin` is the outer surface without ears; `face`, `scalp` and `neck` divide it; `brows`, `lips` (their red),
    `lids_left` and `lids_right` lie within the face. `eyes_left` and `eyes_right` are the eyeballs, `eyes` both;
    `teeth` and `mouth` (its inside and the tongue) lie behind the lips.
    """
    p, part = head.vertices, head.part
    skin = part == "skin"
    neck = skin & (p[:, 1] + 0.55 * p[:, 2] < -0.085) & (p[:, 1] < -0.055)
    around = np.abs(np.nan_to_num(head.chart[:, 0], nan=9.0))
    scalp = (
        skin
        & ~neck
        & (p[:, 1] > np.interp(around, [0, 0.6, 0.95, 1.3, 1.5, np.pi], [0.083, 0.083, 0.055, 0.012, -0.02, -0.07]))
    )
    face = skin & ~neck & ~scalp & (p[:, 2] > 0.0)
    x, y = np.abs(p[:, 0]), p[:, 1]
    brows = face & (x > 0.009) & (x < 0.049) & (np.abs(y - anatomy.brow_line(x)) < 0.0032)
    lips = np.zeros_like(skin)
    for ring in head.lip_rings[: len(LIP_RINGS)]:
        lips[ring] = lips[head.mirror[ring]] = True
    lids = (
        np.linalg.norm(p - anatomy.EYE_CENTRE * np.where(p[:, :1] >= 0, [1, 1, 1], [-1, 1, 1]), axis=1)
        < anatomy.LID_RADIUS + 0.003
    )
    lids = (lids & face) | (part == "inner_lids")
    left, eye = p[:, 0] > 0, part == "eye"
    masks = {
        "skin": skin, "face": face, "scalp": scalp, "neck": neck, "ears": part == "ear", "brows": brows, "lips": lips,
        "lids_left": lids & left, "lids_right": lids & ~left,
        "eyes": eye, "eyes_left": eye & left, "eyes_right": eye & ~left,
        "teeth": np.isin(part, ("teeth_upper", "teeth_lower")),
        "teeth_upper": part == "teeth_upper", "teeth_lower": part == "teeth_lower",
        "mouth": np.isin(part, ("mouth", "tongue")), "tongue": part == "tongue",
    }  # fmt: skip
    return {name: np.flatnonzero(mask) for name, mask in masks.items()}
