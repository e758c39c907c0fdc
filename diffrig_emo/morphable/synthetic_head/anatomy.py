"""Measurements of the mean head, and the curves of its lids and lips.

World frame: metres, +x to the subject's left, +y up, +z out of the face, origin between the ears. Curves are
written for the subject's left half (x >= 0) and mirrored by the callers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EYE_CENTRE = np.array([0.0322, 0.0105, 0.0610])
EYE_RADIUS = 0.0150
LID_RADIUS = EYE_RADIUS + 0.0019
IRIS_RADIUS = 0.0060
EYE_HALF_WIDTH = 0.0149

LIP_CENTRE = np.array([0.0, -0.0560, 0.0900])
LIP_HALF_WIDTH = 0.0250
CHIN = np.array([0.0, -0.0900, 0.0780])
NOSE_TIP = np.array([0.0, -0.0235, 0.1060])

ROOT_JOINT = np.array([0.0, -0.0650, -0.0150])
NECK_JOINT = np.array([0.0, -0.0350, -0.0120])
JAW_JOINT = np.array([0.0, -0.0180, 0.0080])


def lid_contour(angle: Array, margin: float = 0.0) -> tuple[Array, Array]:
    """Almond of the eye opening, relative to the eye centre in the frontal plane.

    Args:
        angle: 0 at the outer corner, pi/2 on the upper lid, pi at the inner corner; radians.
        margin: distance outside the opening, metres.

    Returns:
        x (outwards for the left eye) and y.
    """
    cosine, sine = np.cos(angle), np.sin(angle)
    x = (EYE_HALF_WIDTH + margin) * cosine
    # The upper lid peaks towards the nose, the lower one towards the temple.
    height = np.where(sine > 0, 0.0060 * (1 - 0.20 * cosine), 0.0051 * (1 + 0.22 * cosine)) + margin
    sharpness = 1.25 / (1 + margin / 0.004) + 0.9 * (1 - 1 / (1 + margin / 0.004))
    y = height * np.sign(sine) * np.abs(sine) ** sharpness
    # Outer corner a little higher than the inner one.
    return x, y + 0.0009 * cosine * np.abs(cosine)


def lip_line(x: Array) -> Array:
    """Height of the closed mouth's line."""
    u = np.abs(x) / LIP_HALF_WIDTH
    bow = 0.0008 * np.exp(-(((u - 0.45) / 0.3) ** 2)) - 0.0010 * np.exp(-((u / 0.28) ** 2))
    return np.asarray(LIP_CENTRE[1] + bow - 0.0006 * u**2)


def upper_lip_height(x: Array) -> Array:
    """Height of the cupid's bow above the lip line."""
    u = np.clip(np.abs(x) / (LIP_HALF_WIDTH + 0.0005), 0, 1)
    arch = 0.0078 * (1 - u**1.25) ** 0.95
    return arch - 0.0013 * np.exp(-((u / 0.13) ** 2))


def lower_lip_height(x: Array) -> Array:
    """Depth of the lower lip's border below the lip line."""
    u = np.clip(np.abs(x) / (LIP_HALF_WIDTH + 0.0005), 0, 1)
    return 0.0098 * (1 - u**2.3) ** 0.95


def brow_line(x: Array) -> Array:
    """Height of the middle of the eyebrow, x in metres from the midline."""
    along = np.clip((np.abs(x) - 0.010) / 0.039, 0, 1)
    return np.asarray(0.0310 + 0.0042 * np.sin(np.pi * along**1.35) + 0.0002 * along)


def smoothstep(low: float | Array, high: float | Array, value: Array) -> Array:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((value - low) / (np.asarray(high) - low), 0, 1)
    return t * t * (3 - 2 * t)
