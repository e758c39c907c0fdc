"""The skin of the mean head as an implicit surface: soft unions of ellipsoids and capsules.

Smooth minimum after I. Quilez, "Smooth minimum" (polynomial form): `smin(a, b; k) = min(a, b) - h^2 k / 4`
with `h = max(k - |a - b|, 0) / k`; k is the width of the blend in metres.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffrig_emo.morphable.synthetic_head import anatomy
from diffrig_emo.morphable.synthetic_head.anatomy import Array


def _ellipsoid(p: Array, centre: Sequence[float], radii: Sequence[float]) -> Array:
    q, r = p - np.array(centre), np.array(radii)
    k0, k1 = np.linalg.norm(q / r, axis=-1), np.linalg.norm(q / r**2, axis=-1)
    return np.asarray(k0 * (k0 - 1) / np.maximum(k1, 1e-9))


def _capsule(p: Array, a: Sequence[float], b: Sequence[float], radius_a: float, radius_b: float) -> Array:
    start, axis = np.array(a), np.array(b) - np.array(a)
    h = np.clip((p - start) @ axis / (axis @ axis), 0, 1)
    distance = np.linalg.norm(p - start - h[..., None] * axis, axis=-1)
    return np.asarray(distance - (radius_a + (radius_b - radius_a) * h))


def _union(a: Array, b: Array, k: float) -> Array:
    h = np.maximum(k - np.abs(a - b), 0) / k
    return np.minimum(a, b) - h * h * k / 4


def _carve(a: Array, b: Array, k: float) -> Array:
    return -_union(-a, b, k)


def skin_distance(points: Array) -> Array:
    """Approximate signed distance to the skin, negative inside, metres."""
    p = points.copy()
    p[..., 0] = np.sqrt(p[..., 0] ** 2 + 1e-6)  # symmetric and smooth across the midline
    # Skull, face, jaw.
    d = _ellipsoid(p, (0, 0.036, -0.014), (0.0755, 0.0800, 0.0960))
    d = _union(d, _ellipsoid(p, (0, 0.045, 0.028), (0.0560, 0.0450, 0.0560)), 0.030)
    d = _union(d, _ellipsoid(p, (0, -0.020, 0.014), (0.0575, 0.0720, 0.0650)), 0.024)
    d = _union(d, _capsule(p, (0.0405, -0.0610, 0.0060), (0.0110, -0.0890, 0.0560), 0.0120, 0.0120), 0.026)
    d = _union(d, _capsule(p, (0.0405, -0.0610, 0.0060), (0.0560, -0.0100, 0.0060), 0.0120, 0.0110), 0.036)
    d = _union(d, _ellipsoid(p, (0, -0.0880, 0.0620), (0.0190, 0.0165, 0.0210)), 0.022)
    d = _union(d, _ellipsoid(p, (0, -0.0500, 0.0520), (0.0300, 0.0270, 0.0350)), 0.022)
    d = _union(d, _ellipsoid(p, (0.0400, -0.0170, 0.0480), (0.0230, 0.0170, 0.0200)), 0.020)
    d = _union(d, _ellipsoid(p, (0.0360, -0.0400, 0.0480), (0.0180, 0.0220, 0.0190)), 0.024)
    d = _union(d, _ellipsoid(p, (0.0425, -0.0330, 0.0200), (0.0135, 0.0280, 0.0260)), 0.026)
    neck = _capsule(p, (0, -0.0500, -0.0220), (0, -0.2100, -0.0300), 0.0465, 0.0560)
    d = _union(d, neck, 0.022)
    # Brow ridge, eye sockets, lids.
    d = _union(d, _capsule(p, (0.0080, 0.0270, 0.0760), (0.0400, 0.0350, 0.0620), 0.0075, 0.0075), 0.014)
    eye = anatomy.EYE_CENTRE
    d = _carve(d, _ellipsoid(p, (eye[0] - 0.001, eye[1] - 0.0005, eye[2] + 0.018), (0.0200, 0.0125, 0.0110)), 0.014)
    d = _union(d, np.linalg.norm(p - eye, axis=-1) - anatomy.LID_RADIUS, 0.0065)
    # Nose: bridge, tip, wings, columella, nostrils.
    d = _union(d, _capsule(p, (0, 0.0150, 0.0760), (0, -0.0215, 0.0960), 0.0062, 0.0078), 0.016)
    d = _union(d, _ellipsoid(p, (0, -0.0240, 0.0965), (0.0095, 0.0085, 0.0100)), 0.008)
    d = _union(d, _ellipsoid(p, (0.0108, -0.0280, 0.0860), (0.0068, 0.0072, 0.0105)), 0.010)
    d = _union(d, _capsule(p, (0, -0.0290, 0.0960), (0, -0.0350, 0.0850), 0.0040, 0.0040), 0.006)
    d = _carve(d, _ellipsoid(p, (0.0068, -0.0345, 0.0915), (0.0030, 0.0036, 0.0050)), 0.004)
    # Philtrum and the furrow under the lower lip.
    d = _carve(d, _capsule(p, (0, -0.0400, 0.0925), (0, -0.0480, 0.0935), 0.0022, 0.0026), 0.006)
    return _carve(d, _ellipsoid(p, (0, -0.0720, 0.0930), (0.0170, 0.0040, 0.0080)), 0.014)


def cast(origin: Array, direction: Array, reach: float = 0.06, steps: int = 48) -> Array:
    """Walk from `origin + reach * direction` back along the ray until the skin is met.

    Args:
        origin: (N, 3) points near or under the skin.
        direction: (N, 3) unit vectors pointing outwards.
        reach: where to start, metres along the ray.
        steps: number of sphere-tracing steps.

    Returns:
        (N, 3) points on the skin.
    """
    s = np.full(len(origin), reach)
    for _ in range(steps):
        s = s - 0.8 * skin_distance(origin + s[:, None] * direction)
    return np.asarray(origin + s[:, None] * direction)


def front_depth(x: Array, y: Array) -> Array:
    """Depth z of the skin over the frontal plane, for arrays of any (equal) shape."""
    origin = np.stack([x, y, np.full_like(x, 0.06)], axis=-1).reshape(-1, 3)
    return cast(origin, np.broadcast_to([0.0, 0.0, 1.0], origin.shape))[:, 2].reshape(x.shape)
